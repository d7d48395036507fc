//! Storage of one field's values. A column can be cut back to any earlier length, nested columns with
//! it: that is how a row that fails midway leaves nothing behind.

use arrow::array::{BooleanBufferBuilder, NullBufferBuilder};
use millrace_model::ErrorClass;

use crate::fault::Fault;
use crate::record::Record;
use crate::schema::{Field, FieldType, Mode, Rounding};

/// The values of one field, top-level or nested.
pub(crate) struct Column {
    pub(crate) name: Box<str>,
    pub(crate) kind: FieldType,
    pub(crate) mode: Mode,
    pub(crate) rules: Rules,
    /// REPEATED: where each list ends among the values, a 0 before them.
    list_ends: Vec<i32>,
    /// Which values are not null.
    pub(crate) valid: NullBufferBuilder,
    pub(crate) values: Values,
}

/// What a declared type asks of its values beyond their form.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) length_max: Option<usize>,
    pub(crate) precision: Option<usize>,
    pub(crate) scale: Option<usize>,
    pub(crate) rounding: Rounding,
}

/// Values as Arrow lays them out.
pub(crate) enum Values {
    Bool(BooleanBufferBuilder),
    /// INT64, TIMESTAMP and DATETIME in microseconds.
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    /// NUMERIC, in units of 10^-9.
    Decimal(Vec<i128>),
    /// DATE, in days since 1970.
    Day(Vec<i32>),
    /// STRING, BYTES, JSON, BIGNUMERIC, TIME.
    Text(Texts),
    Record(Record),
}

/// Texts one behind the other, and where each ends, a 0 before them.
pub(crate) struct Texts {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<i32>,
}

impl Texts {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }

    /// Ends the text that has been appended to `bytes`.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.ends.push(column_position(self.bytes.len())?);
        Ok(())
    }

    /// Where the last text that was ended ends.
    fn last_end(&self) -> usize {
        self.ends.last().map_or(0, |&end| position(end))
    }

    fn truncate(&mut self, texts: usize) {
        self.ends.truncate(texts + 1);
        self.bytes.truncate(self.last_end());
    }
}

impl Column {
    pub(crate) fn new(field: &Field) -> Self {
        let values = match field.kind {
            FieldType::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            FieldType::Int64 | FieldType::Timestamp | FieldType::DateTime => Values::Int64(Vec::new()),
            FieldType::Float64 => Values::Float64(Vec::new()),
            FieldType::Numeric => Values::Decimal(Vec::new()),
            FieldType::Date => Values::Day(Vec::new()),
            FieldType::String
            | FieldType::Bytes
            | FieldType::Json
            | FieldType::BigNumeric
            | FieldType::Time => Values::Text(Texts::new()),
            FieldType::Record => Values::Record(Record::new(&field.fields)),
        };
        Self {
            name: field.name.as_str().into(),
            kind: field.kind,
            mode: field.mode,
            rules: Rules {
                length_max: field.max_length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
                precision: field.precision.map(usize::from),
                // A precision alone means whole numbers.
                scale: field.scale.map(usize::from).or(field.precision.map(|_| 0)),
                rounding: field.rounding,
            },
            list_ends: vec![0],
            valid: NullBufferBuilder::new(0),
            values,
        }
    }

    /// How many rows the column has: lists when it is REPEATED, else values.
    pub(crate) fn len(&self) -> usize {
        if self.mode == Mode::Repeated { self.list_ends.len() - 1 } else { self.valid.len() }
    }

    /// Forgets the rows from `rows` on, those that are not ended too.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if self.mode == Mode::Repeated {
            self.list_ends.truncate(rows + 1);
            self.truncate_values(self.list_ends.last().map_or(0, |&end| position(end)));
        } else {
            self.truncate_values(rows);
        }
    }

    fn truncate_values(&mut self, count: usize) {
        self.valid.truncate(count);
        match &mut self.values {
            Values::Bool(values) => values.truncate(count),
            Values::Int64(values) => values.truncate(count),
            Values::Float64(values) => values.truncate(count),
            Values::Decimal(values) => values.truncate(count),
            Values::Day(values) => values.truncate(count),
            Values::Text(texts) => texts.truncate(count),
            Values::Record(record) => record.truncate(count),
        }
    }

    /// Appends null, or the empty list when the column is REPEATED. A REQUIRED column takes it too: a
    /// null RECORD leaves no value in it.
    pub(crate) fn push_null(&mut self) -> Result<(), Fault> {
        if self.mode == Mode::Repeated {
            return self.end_list();
        }
        match &mut self.values {
            Values::Bool(values) => values.append(false),
            Values::Int64(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Day(values) => values.push(0),
            Values::Text(texts) => texts.end()?,
            Values::Record(record) => record.push_nulls()?,
        }
        self.valid.append_null();
        Ok(())
    }

    /// Appends a number to an INT64, TIMESTAMP or DATETIME column, as it is stored.
    pub(crate) fn push_int64(&mut self, value: i64) -> Result<(), Fault> {
        let Values::Int64(values) = &mut self.values else {
            return Err(Fault::invalid("the column is not of 64-bit integers"));
        };
        values.push(value);
        self.valid.append_non_null();
        Ok(())
    }

    /// Appends bytes to a STRING or BYTES column, as they are stored: UTF-8 in a STRING column.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Result<(), Fault> {
        let Values::Text(texts) = &mut self.values else {
            return Err(Fault::invalid("the column is not of text"));
        };
        texts.bytes.extend_from_slice(value);
        texts.end()?;
        self.valid.append_non_null();
        Ok(())
    }

    /// Appends text or null to a STRING column.
    pub(crate) fn push_text(&mut self, value: Option<&str>) -> Result<(), Fault> {
        match value {
            Some(text) => self.push_bytes(text.as_bytes()),
            None => self.push_null(),
        }
    }

    /// Appends to the open list of a REPEATED RECORD of two STRINGs.
    pub(crate) fn push_pair(&mut self, first: &str, second: &str) -> Result<(), Fault> {
        let Values::Record(record) = &mut self.values else {
            return Err(Fault::invalid("the column is not of records"));
        };
        for (column, text) in record.columns.iter_mut().zip([first, second]) {
            column.push_bytes(text.as_bytes())?;
        }
        self.valid.append_non_null();
        Ok(())
    }

    /// Ends the list that has been appended to the values.
    pub(crate) fn end_list(&mut self) -> Result<(), Fault> {
        self.list_ends.push(column_position(self.valid.len())?);
        Ok(())
    }

    /// The parts that Arrow arrays are made of: list ends, validity, values.
    pub(crate) fn into_parts(self) -> (Vec<i32>, NullBufferBuilder, Values) {
        (self.list_ends, self.valid, self.values)
    }

    /// The last row's day, when it is a day, date and time, or moment.
    pub(crate) fn last_day(&self) -> Option<i32> {
        const DAY_MICROS: i64 = 86_400_000_000;
        if !self.valid.is_valid(self.valid.len().checked_sub(1)?) {
            return None;
        }
        match &self.values {
            Values::Day(days) => days.last().copied(),
            Values::Int64(micros) => i32::try_from(micros.last()?.div_euclid(DAY_MICROS)).ok(),
            _ => None,
        }
    }
}

/// A position as Arrow's 32-bit offsets hold it.
fn column_position(position: usize) -> Result<i32, Fault> {
    i32::try_from(position).map_err(|_| {
        Fault::new(
            ErrorClass::TooLarge,
            "the values of this window are over 2 GiB in one column: make windows smaller",
        )
    })
}

/// A position that `column_position` made: never negative.
fn position(end: i32) -> usize {
    usize::try_from(end).unwrap_or(0)
}
