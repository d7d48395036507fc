//! A topic's schema: which messages may pass.

use std::sync::Arc;

use millrace_model::{AttributeBlock, NewMessage};

use super::{DELETED_SCHEMA, Definition};
use crate::error::PubsubError;
use crate::names::{Kind, Name};
use crate::proto::v1;
use crate::proto::v1::Encoding;
use crate::registry::Resources;

/// The revisions that a topic takes, the newest first.
#[derive(Debug)]
pub(crate) struct Gate {
    settings: v1::SchemaSettings,
    revisions: Vec<(String, Arc<Definition>)>,
}

impl Gate {
    /// Reads the revisions that the settings allow. What `before` has of the same schema is not read again.
    ///
    /// # Errors
    /// When the schema or a bound of the range is not there, or the encoding is not set.
    pub(crate) fn load(
        settings: &v1::SchemaSettings,
        resources: &Resources,
        before: Option<&Self>,
    ) -> Result<Self, PubsubError> {
        if settings.schema == DELETED_SCHEMA {
            return Err(PubsubError::precondition("the topic's schema was deleted: name another, or none"));
        }
        let name = Name::parse(Kind::Schema, &settings.schema)?;
        let all = resources.schemas.get(&name).ok_or_else(|| PubsubError::not_found(&settings.schema))?;
        if settings.encoding() == Encoding::Unspecified {
            return Err(PubsubError::invalid("schema_settings.encoding is neither JSON nor BINARY"));
        }
        let place = |id: &str, default: usize| match id {
            "" => Ok(default),
            id => all.iter().position(|one| one.revision_id == id).ok_or_else(|| {
                PubsubError::invalid(format!("schema_settings: {} has no revision {id}", settings.schema))
            }),
        };
        let first = place(&settings.first_revision_id, 0)?;
        let last = place(&settings.last_revision_id, all.len().saturating_sub(1))?;
        let allowed = all.get(first..=last).filter(|allowed| !allowed.is_empty());
        let allowed = allowed.ok_or_else(|| {
            PubsubError::invalid("schema_settings: first_revision_id is newer than last_revision_id")
        })?;
        let before = before.filter(|before| before.settings.schema == settings.schema);
        let mut revisions = Vec::with_capacity(allowed.len());
        for schema in allowed.iter().rev() {
            let id = &schema.revision_id;
            let known = before.and_then(|before| before.revisions.iter().find(|(known, _)| known == id));
            let definition = match known {
                Some((_, definition)) => Arc::clone(definition),
                None => Arc::new(Definition::parse(schema)?),
            };
            revisions.push((id.clone(), definition));
        }
        Ok(Self { settings: settings.clone(), revisions })
    }

    /// Checks a message, and adds which revision it fits.
    ///
    /// # Errors
    /// What does not fit the newest revision, when no other one fits.
    pub(crate) fn pass(&self, message: NewMessage) -> Result<NewMessage, String> {
        let encoding = self.settings.encoding();
        let mut refusal = None;
        for (id, definition) in &self.revisions {
            match definition.check(&message.data, encoding) {
                Ok(()) => return self.marked(message, id),
                Err(error) => refusal = refusal.or(Some((id, error))),
            }
        }
        let (id, error) = refusal.map_or(("", String::new()), |(id, error)| (id.as_str(), error));
        Err(format!("the data do not fit {}@{id}: {error}", self.settings.schema))
    }

    /// The service tells subscribers by attributes
    /// (<https://cloud.google.com/pubsub/docs/schemas#process-schema-metadata>).
    fn marked(&self, message: NewMessage, revision: &str) -> Result<NewMessage, String> {
        let marks = [
            ("googclient_schemaencoding", self.settings.encoding().as_str_name()),
            ("googclient_schemaname", self.settings.schema.as_str()),
            ("googclient_schemarevisionid", revision),
        ];
        let attributes = AttributeBlock::pack(message.attributes.iter().chain(marks))
            .map_err(|error| format!("with the attributes that name the schema: {error}"))?;
        Ok(NewMessage { attributes, ..message })
    }
}
