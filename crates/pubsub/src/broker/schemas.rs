//! Schemas and their revisions: making, showing, changing, deleting, trying.

use millrace_model::Micros;

use super::lists::page;
use super::{Broker, random};
use crate::error::PubsubError;
use crate::limits::SCHEMA_REVISIONS_MAX;
use crate::names::{Kind, Name, parse_project};
use crate::proto::v1;
use crate::proto::v1::validate_message_request::SchemaSpec;
use crate::registry::Resources;
use crate::schema::{DELETED_SCHEMA, Definition};
use crate::subscription::timestamp;

impl Broker {
    pub(crate) fn create_schema(&self, request: v1::CreateSchemaRequest) -> Result<v1::Schema, PubsubError> {
        let project = parse_project(&request.parent)?;
        let given = request.schema.ok_or_else(|| PubsubError::invalid("schema is not set"))?;
        let text = Name::new(Kind::Schema, project, &request.schema_id).to_string();
        let name = Name::parse(Kind::Schema, &text)?;
        Definition::parse(&given)?;
        let mut registry = self.registry();
        if registry.resources().schemas.contains_key(&name) {
            return Err(PubsubError::exists(&text));
        }
        if registry.resources().schemas.len() >= self.config.resources_max {
            return Err(PubsubError::exhausted(format!(
                "there are {} schemas, which is the most: delete some",
                self.config.resources_max
            )));
        }
        let schema = revision(&text, given.r#type, given.definition)?;
        registry.change(|resources| {
            resources.schemas.insert(name, vec![schema.clone()]);
            Ok(())
        })?;
        Ok(schema)
    }

    pub(crate) fn get_schema(&self, request: &v1::GetSchemaRequest) -> Result<v1::Schema, PubsubError> {
        let registry = self.registry();
        let schema = found(registry.resources(), &request.name)?.clone();
        Ok(seen(schema, request.view() != v1::SchemaView::Basic))
    }

    pub(crate) fn list_schemas(
        &self,
        request: &v1::ListSchemasRequest,
    ) -> Result<v1::ListSchemasResponse, PubsubError> {
        let project = parse_project(&request.parent)?;
        let is_full = request.view() == v1::SchemaView::Full;
        let registry = self.registry();
        let of_project = registry.resources().schemas.iter().filter(|(name, _)| name.project == project);
        let newest = of_project.filter_map(|(name, revisions)| Some((name.to_string(), revisions.last()?)));
        let shown = newest.map(|(name, schema)| (name, seen(schema.clone(), is_full)));
        let (schemas, next_page_token) = page(shown, request.page_size, &request.page_token)?;
        Ok(v1::ListSchemasResponse { schemas, next_page_token })
    }

    /// The newest first.
    pub(crate) fn list_schema_revisions(
        &self,
        request: &v1::ListSchemaRevisionsRequest,
    ) -> Result<v1::ListSchemaRevisionsResponse, PubsubError> {
        let is_full = request.view() == v1::SchemaView::Full;
        let registry = self.registry();
        let (_, revisions) = all_of(registry.resources(), &request.name)?;
        let numbered = revisions.iter().rev().enumerate();
        let shown = numbered.map(|(number, schema)| (format!("{number:06}"), seen(schema.clone(), is_full)));
        let (schemas, next_page_token) = page(shown, request.page_size, &request.page_token)?;
        Ok(v1::ListSchemaRevisionsResponse { schemas, next_page_token })
    }

    pub(crate) fn commit_schema(&self, request: v1::CommitSchemaRequest) -> Result<v1::Schema, PubsubError> {
        let given = request.schema.ok_or_else(|| PubsubError::invalid("schema is not set"))?;
        if !given.name.is_empty() && given.name != request.name {
            return Err(PubsubError::invalid(format!(
                "schema.name is {:?}, name {:?}",
                given.name, request.name
            )));
        }
        Definition::parse(&given)?;
        self.add_revision(&request.name, |revisions| {
            let newest = revisions.last().map_or(0, |newest| newest.r#type);
            match given.r#type == newest {
                true => Ok(given.definition),
                false => Err(PubsubError::invalid("the type of a schema cannot change")),
            }
        })
    }

    pub(crate) fn rollback_schema(
        &self,
        request: &v1::RollbackSchemaRequest,
    ) -> Result<v1::Schema, PubsubError> {
        self.add_revision(&request.name, |revisions| {
            let wanted = revisions.iter().find(|one| one.revision_id == request.revision_id);
            let wanted = wanted.ok_or_else(|| {
                PubsubError::not_found(&format!("{}@{}", request.name, request.revision_id))
            })?;
            Ok(wanted.definition.clone())
        })
    }

    fn add_revision(
        &self,
        text: &str,
        definition: impl FnOnce(&[v1::Schema]) -> Result<String, PubsubError>,
    ) -> Result<v1::Schema, PubsubError> {
        let mut registry = self.registry();
        let (name, revisions) = all_of(registry.resources(), text)?;
        if revisions.len() >= SCHEMA_REVISIONS_MAX {
            return Err(PubsubError::exhausted(format!(
                "{text} has {SCHEMA_REVISIONS_MAX} revisions, which is the most: delete some"
            )));
        }
        let kind = revisions.last().map_or(0, |newest| newest.r#type);
        let schema = revision(text, kind, definition(revisions)?)?;
        registry.change(|resources| {
            resources.schemas.entry(name).or_default().push(schema.clone());
            Ok(())
        })?;
        self.publish_names(registry.resources());
        Ok(schema)
    }

    /// Deletes one revision, and answers the newest that is left.
    pub(crate) fn delete_schema_revision(
        &self,
        request: &v1::DeleteSchemaRevisionRequest,
    ) -> Result<v1::Schema, PubsubError> {
        #[expect(deprecated, reason = "clients still send it")]
        let given = &request.revision_id;
        let (text, id) = match request.name.split_once('@') {
            Some((text, id)) => (text, id),
            None if !given.is_empty() => (request.name.as_str(), given.as_str()),
            None => return Err(PubsubError::invalid("name ends with the revision: .../schemas/ID@REVISION")),
        };
        let mut registry = self.registry();
        let (name, revisions) = all_of(registry.resources(), text)?;
        if revisions.iter().all(|one| one.revision_id != id) {
            return Err(PubsubError::not_found(&format!("{text}@{id}")));
        }
        if revisions.len() == 1 {
            return Err(PubsubError::invalid(format!(
                "{id} is the only revision of {text}: delete the schema"
            )));
        }
        let is_bound = |settings: &v1::SchemaSettings| {
            settings.schema == text && (settings.first_revision_id == id || settings.last_revision_id == id)
        };
        let mut topics = registry.resources().topics.values();
        if let Some(topic) = topics.find(|one| one.resource.schema_settings.as_ref().is_some_and(is_bound)) {
            return Err(PubsubError::precondition(format!(
                "{} names the revision {id}",
                topic.resource.name
            )));
        }
        let left = registry.change(|resources| {
            let revisions = resources.schemas.get_mut(&name).ok_or_else(|| PubsubError::not_found(text))?;
            revisions.retain(|one| one.revision_id != id);
            revisions.last().cloned().ok_or_else(|| PubsubError::not_found(text))
        })?;
        self.publish_names(registry.resources());
        Ok(left)
    }

    /// Deletes a schema. Topics that name it take no messages until they name another or none.
    pub(crate) fn delete_schema(&self, text: &str) -> Result<(), PubsubError> {
        let name = Name::parse(Kind::Schema, text)?;
        let mut registry = self.registry();
        registry.change(|resources| {
            resources.schemas.remove(&name).ok_or_else(|| PubsubError::not_found(text))?;
            let settings =
                resources.topics.values_mut().filter_map(|record| record.resource.schema_settings.as_mut());
            for settings in settings.filter(|settings| settings.schema == text) {
                DELETED_SCHEMA.clone_into(&mut settings.schema);
            }
            Ok(())
        })?;
        self.publish_names(registry.resources());
        Ok(())
    }

    pub(crate) fn validate_schema(&self, request: &v1::ValidateSchemaRequest) -> Result<(), PubsubError> {
        parse_project(&request.parent)?;
        let schema = request.schema.as_ref().ok_or_else(|| PubsubError::invalid("schema is not set"))?;
        Definition::parse(schema).map(|_| ())
    }

    pub(crate) fn validate_message(&self, request: &v1::ValidateMessageRequest) -> Result<(), PubsubError> {
        parse_project(&request.parent)?;
        let definition = match &request.schema_spec {
            None => return Err(PubsubError::invalid("neither name nor schema is set")),
            Some(SchemaSpec::Schema(schema)) => Definition::parse(schema)?,
            Some(SchemaSpec::Name(name)) => {
                let schema = found(self.registry().resources(), name)?.clone();
                Definition::parse(&schema)?
            }
        };
        let checked = definition.check(&request.message, request.encoding());
        checked.map_err(|error| PubsubError::invalid(format!("the message does not fit the schema: {error}")))
    }
}

/// All revisions of a schema, the oldest first.
fn all_of<'a>(resources: &'a Resources, text: &str) -> Result<(Name, &'a [v1::Schema]), PubsubError> {
    let name = Name::parse(Kind::Schema, text)?;
    let revisions = resources.schemas.get(&name).ok_or_else(|| PubsubError::not_found(text))?;
    Ok((name, revisions))
}

/// The revision that a name names, the newest when it names none.
fn found<'a>(resources: &'a Resources, text: &str) -> Result<&'a v1::Schema, PubsubError> {
    let (name, id) = text.split_once('@').map_or((text, None), |(name, id)| (name, Some(id)));
    let (_, revisions) = all_of(resources, name)?;
    let wanted = match id {
        None => revisions.last(),
        Some(id) => revisions.iter().find(|one| one.revision_id == id),
    };
    wanted.ok_or_else(|| PubsubError::not_found(text))
}

fn revision(name: &str, kind: i32, definition: String) -> Result<v1::Schema, PubsubError> {
    let [a, b, c, d, ..] = random()?.to_le_bytes();
    Ok(v1::Schema {
        name: name.to_owned(),
        r#type: kind,
        definition,
        revision_id: format!("{:08x}", u32::from_le_bytes([a, b, c, d])),
        revision_create_time: Some(timestamp(Micros::now())),
    })
}

fn seen(mut schema: v1::Schema, is_full: bool) -> v1::Schema {
    if !is_full {
        schema.definition = String::new();
    }
    schema
}
