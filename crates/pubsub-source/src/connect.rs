//! Google's clients, for the service or for an emulator.

use google_cloud_auth::credentials::{self, Credentials};
use google_cloud_pubsub::client::{Subscriber, SubscriptionAdmin, TopicAdmin};

use crate::config::{Endpoint, SourceConfig};
use crate::error::SourceError;

/// The clients that a source needs. Making them opens no connection.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) subscriber: Subscriber,
    pub(crate) admin: SubscriptionAdmin,
    pub(crate) topics: TopicAdmin,
}

/// Makes the clients.
pub(crate) async fn clients(config: &SourceConfig) -> Result<Clients, SourceError> {
    let credentials = credentials(config)?;
    let mut subscriber = Subscriber::builder().with_credentials(credentials.clone());
    let mut admin = SubscriptionAdmin::builder().with_credentials(credentials.clone());
    let mut topics = TopicAdmin::builder().with_credentials(credentials);
    if let Endpoint::Tls(address) | Endpoint::Plaintext(address) = &config.endpoint {
        subscriber = subscriber.with_endpoint(address);
        admin = admin.with_endpoint(address);
        topics = topics.with_endpoint(address);
    }
    let failed = |error: google_cloud_gax::client_builder::Error| {
        SourceError::Setting(format!("no client can be made for {}: {error}", config.endpoint.address()))
    };
    Ok(Clients {
        subscriber: subscriber.build().await.map_err(failed)?,
        admin: admin.build().await.map_err(failed)?,
        topics: topics.build().await.map_err(failed)?,
    })
}

fn credentials(config: &SourceConfig) -> Result<Credentials, SourceError> {
    // A token must not be sent where it can be read on the way.
    if matches!(config.endpoint, Endpoint::Plaintext(_)) {
        return Ok(credentials::anonymous::Builder::new().build());
    }
    let failed = |error: google_cloud_auth::build_errors::Error| {
        SourceError::Credentials(format!(
            "the default credentials cannot be used: {error}; run `gcloud auth application-default login`, or \
             correct GOOGLE_APPLICATION_CREDENTIALS"
        ))
    };
    let own = credentials::Builder::default().build().map_err(failed)?;
    match &config.impersonate {
        None => Ok(own),
        Some(account) => credentials::impersonated::Builder::from_source_credentials(own)
            .with_target_principal(account)
            .build()
            .map_err(failed),
    }
}
