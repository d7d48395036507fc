//! A resource, read once for all of its records.

use super::MESSAGE;
use crate::map::attributes::{Attribute, KeySet, mark_superseded};
use crate::map::value::{Any, ValueError};
use crate::wire::{Fields, WireError};

/// A resource, prepared for its records.
pub(super) struct Resource<'a> {
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) keys: KeySet<'a>,
    /// `"key":value,...` of what goes into every payload.
    pub(super) fragment: Vec<u8>,
    pub(super) canonical: Vec<u8>,
    /// Set when the resource itself cannot be written, so that none of its records can.
    pub(super) failed: Option<ValueError>,
    pub(super) repaired: u64,
}

impl<'a> Resource<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut resource = Self {
            attributes: Vec::new(),
            keys: KeySet::default(),
            fragment: Vec::new(),
            canonical: Vec::new(),
            failed: None,
            repaired: 0,
        };
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                resource.attributes.push(Attribute::read(field.bytes()?)?);
            }
        }
        match resource.prepare() {
            Err(ValueError::Wire(error)) => return Err(error),
            Err(error) => resource.failed = Some(error),
            Ok(()) => {}
        }
        Ok(resource)
    }

    fn prepare(&mut self) -> Result<(), ValueError> {
        for attribute in &self.attributes {
            attribute.canonical(&mut self.canonical, 0)?;
        }
        mark_superseded(&mut self.attributes);
        let mut first = true;
        for attribute in self.attributes.iter().filter(|attribute| attribute.is_shown()) {
            // A body takes the place of a resource's `message`, so that one is decided record by record.
            if attribute.key != MESSAGE {
                attribute.write(&mut self.fragment, &mut first, 0, &mut self.repaired)?;
                self.keys.insert(attribute.key);
            }
        }
        Ok(())
    }

    pub(super) fn shown(&self, key: &[u8]) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.key == key && attribute.is_shown())
    }

    pub(super) fn service_name(&self) -> &'a [u8] {
        match self.shown(b"service.name").map(|attribute| attribute.value) {
            Some(Any::Text(name)) => name,
            _ => &[],
        }
    }
}
