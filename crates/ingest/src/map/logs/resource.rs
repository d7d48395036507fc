//! A resource, read once for all of its records.

use millrace_model::limits::MESSAGE_BYTES_MAX;

use super::MESSAGE;
use crate::map::attributes::{Attribute, KeySet, mark_superseded};
use crate::map::identity::{Digest, Identity, finished};
use crate::map::value::{Any, ValueError};
use crate::wire::{Fields, WireError};

/// A resource, prepared for its records.
pub(super) struct Resource<'a> {
    /// Those that have a place in a payload.
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) keys: KeySet<'a>,
    /// `"key":value,...` of what goes into every payload.
    pub(super) fragment: Vec<u8>,
    /// Has taken the canonical form: every scope begins with it, and there may be many.
    hasher: blake3::Hasher,
    service_name: &'a [u8],
    /// Set when the resource itself cannot be written, so that none of its records can.
    pub(super) failed: Option<ValueError>,
    pub(super) repaired: u64,
}

impl<'a> Resource<'a> {
    pub(super) fn read(message: &'a [u8], identity: &Identity) -> Result<Self, WireError> {
        let mut resource = Self {
            attributes: Vec::new(),
            keys: KeySet::default(),
            fragment: Vec::new(),
            hasher: identity.record_hasher(),
            service_name: &[],
            failed: None,
            repaired: 0,
        };
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                let pushed = Attribute::read(field.bytes()?)?.push_to(&mut resource.attributes);
                resource.failed = pushed.err().or(resource.failed);
            }
        }
        let prepared = match resource.failed {
            None if message.len() > MESSAGE_BYTES_MAX => Err(ValueError::TooLarge),
            None => resource.prepare(),
            Some(failed) => Err(failed),
        };
        match prepared {
            Err(ValueError::Wire(error)) => return Err(error),
            Err(error) => resource.failed = Some(error),
            Ok(()) => {}
        }
        Ok(resource)
    }

    fn prepare(&mut self) -> Result<(), ValueError> {
        let mut canonical = Vec::new();
        for attribute in &self.attributes {
            attribute.canonical(&mut canonical, 0)?;
            self.hasher.update(&canonical);
            canonical.clear();
        }
        mark_superseded(&mut self.attributes);
        // Filters look through what is left for every record, which then writes as much.
        self.attributes.retain(Attribute::is_shown);
        if let Some(Any::Text(name)) = self.shown(b"service.name").map(|attribute| attribute.value) {
            self.service_name = name;
        }
        let mut first = true;
        for attribute in &self.attributes {
            // A body takes the place of a resource's `message`, so that one is decided record by record.
            if attribute.key != MESSAGE {
                attribute.write(&mut self.fragment, &mut first, 0, &mut self.repaired)?;
                self.keys.insert(attribute.key);
            }
        }
        if self.fragment.len() > MESSAGE_BYTES_MAX { Err(ValueError::TooLarge) } else { Ok(()) }
    }

    /// The digest of its canonical form and what follows it.
    pub(super) fn digest_with(&self, canonical: &[u8]) -> Digest {
        finished(self.hasher.clone().update(canonical))
    }

    pub(super) fn shown(&self, key: &[u8]) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.key == key)
    }

    pub(super) fn service_name(&self) -> &'a [u8] {
        self.service_name
    }
}
