//! The columns of a RECORD, and of a table: the same thing. Reads JSON objects into them.

use std::collections::{BTreeMap, HashMap};

use millrace_model::ErrorClass;

use crate::column::Column;
use crate::fault::Fault;
use crate::json::{JsonError, Reader};
use crate::schema::{Field, Mode};

/// Columns and their names.
pub(crate) struct Record {
    pub(crate) columns: Vec<Column>,
    /// Lower-case name -> column.
    by_name: HashMap<Box<str>, usize>,
    /// Which column came behind which the last time, the first one at 0, behind column `i` at `i + 1`:
    /// writers keep to one order, so the guess is nearly always right and saves the look-up.
    successors: Vec<usize>,
}

impl Record {
    pub(crate) fn new(fields: &[Field]) -> Self {
        Self {
            columns: fields.iter().map(Column::new).collect(),
            by_name: fields
                .iter()
                .enumerate()
                .map(|(index, field)| (field.name.to_lowercase().into(), index))
                .collect(),
            successors: (0..=fields.len()).collect(),
        }
    }

    /// The column of that name, compared without case.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        self.by_name.get(name.to_lowercase().as_str()).copied()
    }

    /// The column of that name, guessed from the one before it (counted from 1, 0 for none).
    fn find_after(&mut self, before: usize, name: &str) -> Option<usize> {
        let guess = self.successors[before];
        if self.columns.get(guess).is_some_and(|column| column.name.eq_ignore_ascii_case(name)) {
            return Some(guess);
        }
        let index = self.find(name)?;
        self.successors[before] = index;
        Some(index)
    }

    /// Reads an object into row `row`, which may hold values already; columns that the object does
    /// not name stay as they are. Of a name that comes twice the last value counts, as in JavaScript.
    pub(crate) fn put_object(
        &mut self,
        row: usize,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut faults = Faults::default();
        reader.expect(b'{', "expected an object").map_err(Fault::in_row)?;
        if reader.take(b'}') {
            return Ok(());
        }
        let mut before = 0;
        loop {
            let found = self.read_name(before, reader, scratch)?;
            reader.expect(b':', "expected : behind a field name").map_err(Fault::in_row)?;
            match found {
                Ok(index) => {
                    before = index + 1;
                    self.put_field(row, index, reader, scratch, &mut faults)?;
                }
                Err(fault) => {
                    faults.add(None, fault);
                    reader.skip_value().map_err(|error| faults.or_broken(error))?;
                }
            }
            if !reader.take(b',') {
                break;
            }
        }
        reader.expect(b'}', "expected , or } in an object").map_err(Fault::in_row)?;
        faults.into_result()
    }

    /// Reads a field name and finds its column; the inner error is that there is none.
    fn read_name(
        &mut self,
        before: usize,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Result<usize, Fault>, Fault> {
        reader.peek_name().map_err(Fault::in_row)?;
        let start = reader.position();
        match reader.string(scratch) {
            Ok(name) => Ok(self.find_after(before, name).ok_or_else(|| Fault::unknown_field(name))),
            // Names of columns are text, so this one is no column's.
            Err(JsonError::LoneSurrogate(_)) => {
                reader.rewind(start);
                reader.skip_value().map_err(Fault::in_row)?;
                let quoted = reader.text_between(start, reader.position());
                Ok(Err(Fault::unknown_field(quoted)))
            }
            Err(error) => Err(Fault::in_row(error)),
        }
    }

    /// Reads the value of one field. A refused one is noted and passed over: another value of the same
    /// name may follow, and text that is no JSON at all must be called that.
    fn put_field(
        &mut self,
        row: usize,
        index: usize,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u8>,
        faults: &mut Faults,
    ) -> Result<(), Fault> {
        let column = &mut self.columns[index];
        if column.len() > row {
            column.truncate(row);
        }
        let start = reader.position();
        match column.put_json(reader, scratch) {
            Ok(()) => faults.forgive(index),
            Err(fault) if fault.is_broken_text() => return Err(fault),
            Err(fault) => {
                column.truncate(row);
                faults.add(Some(index), fault.in_field(&column.name));
                reader.rewind(start);
                reader.skip_value().map_err(|error| faults.or_broken(error))?;
            }
        }
        Ok(())
    }

    /// Ends row `row`: columns without a value get null.
    pub(crate) fn end_row(&mut self, row: usize) -> Result<(), Fault> {
        for column in &mut self.columns {
            if column.len() > row {
                continue;
            }
            if column.mode == Mode::Required {
                let fault = Fault::new(ErrorClass::MissingField, "the field is REQUIRED but missing or null");
                return Err(fault.in_field(&column.name));
            }
            column.push_null().map_err(|fault| fault.in_field(&column.name))?;
        }
        Ok(())
    }

    /// Appends null to every column.
    pub(crate) fn push_nulls(&mut self) -> Result<(), Fault> {
        self.columns.iter_mut().try_for_each(Column::push_null)
    }

    /// Forgets the rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.truncate(rows);
        }
    }
}

/// What was refused in an object so far, by column, and among them one name that is no column's. With
/// each its turn, so that the first can be named.
#[derive(Default)]
struct Faults {
    by_column: BTreeMap<Option<usize>, (usize, Fault)>,
    count: usize,
}

impl Faults {
    /// Notes a fault; the first of a column stays.
    fn add(&mut self, column: Option<usize>, fault: Fault) {
        self.count += 1;
        self.by_column.entry(column).or_insert((self.count, fault));
    }

    /// A later value of that column was good.
    fn forgive(&mut self, column: usize) {
        if !self.by_column.is_empty() {
            self.by_column.remove(&Some(column));
        }
    }

    fn take_first(&mut self) -> Option<Fault> {
        let faults = std::mem::take(&mut self.by_column).into_values();
        faults.min_by_key(|(turn, _)| *turn).map(|(_, fault)| fault)
    }

    /// What to say when a refused value cannot even be passed over: that the text is broken, if it is;
    /// else what was refused.
    fn or_broken(&mut self, error: JsonError) -> Fault {
        let skipping = Fault::in_row(error);
        if skipping.is_broken_text() {
            return skipping;
        }
        self.take_first().unwrap_or(skipping)
    }

    fn into_result(mut self) -> Result<(), Fault> {
        self.take_first().map_or(Ok(()), Err)
    }
}
