//! The hidden columns `_topic`, `_offset` and `_event_day`: where a row came from and where it is filed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, NullBufferBuilder};
use arrow::error::ArrowError;
use millrace_model::{Micros, Offset};

use crate::arrays::text_array;
use crate::column::Texts;
use crate::fault::Fault;

/// How many days before the day of publishing an event day may lie, ten years: rows of older days are
/// filed together, so that made-up timestamps cannot make thousands of partitions.
pub const EVENT_DAYS_BACK_MAX: i64 = 3_653;

/// How many days after the day of publishing an event day may lie, for clocks that are wrong.
pub const EVENT_DAYS_AHEAD_MAX: i64 = 1;

const DAY_MICROS: i64 = 86_400_000_000;

/// The hidden columns of the rows so far.
pub(crate) struct Hidden {
    topics: Texts,
    offsets: Vec<i64>,
    days: Vec<i32>,
    days_valid: NullBufferBuilder,
}

impl Hidden {
    pub(crate) fn new() -> Self {
        Self {
            topics: Texts::new(),
            offsets: Vec::new(),
            days: Vec::new(),
            days_valid: NullBufferBuilder::new(0),
        }
    }

    pub(crate) fn push(&mut self, topic: &str, offset: Offset, day: Option<i32>) -> Result<(), Fault> {
        let offset = i64::try_from(offset.0)
            .map_err(|_| Fault::invalid(format!("offset {offset} is beyond 64 bits with a sign")))?;
        self.topics.bytes.extend_from_slice(topic.as_bytes());
        self.topics.end()?;
        self.offsets.push(offset);
        self.days.push(day.unwrap_or(0));
        self.days_valid.append(day.is_some());
        Ok(())
    }

    /// The columns in the order of the Arrow schema.
    pub(crate) fn into_arrays(mut self) -> Result<[ArrayRef; 3], ArrowError> {
        let days = Date32Array::try_new(self.days.into(), self.days_valid.finish())?;
        Ok([
            text_array(self.topics, None)?,
            Arc::new(Int64Array::try_new(self.offsets.into(), None)?),
            Arc::new(days),
        ])
    }
}

/// The day a row is filed under: the day of its partition field, or nothing when that is null or too
/// far from the day of publishing.
pub(crate) fn event_day(day: Option<i32>, published: Micros) -> Option<i32> {
    let day = i64::from(day?);
    let today = published.0.div_euclid(DAY_MICROS);
    let near = (today - EVENT_DAYS_BACK_MAX..=today + EVENT_DAYS_AHEAD_MAX).contains(&day);
    if near { i32::try_from(day).ok() } else { None }
}

/// The day of publishing.
pub(crate) fn publish_day(published: Micros) -> Option<i32> {
    i32::try_from(published.0.div_euclid(DAY_MICROS)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_far_away_are_filed_together() {
        let published = Micros(20_000 * DAY_MICROS + 5);
        for (day, filed) in [
            (20_000, true),
            (20_001, true),
            (20_002, false),
            (20_000 - 3_653, true),
            (20_000 - 3_654, false),
            (i32::MIN, false),
            (i32::MAX, false),
        ] {
            assert_eq!(event_day(Some(day), published), filed.then_some(day), "{day}");
        }
        assert_eq!(event_day(None, published), None);
        assert_eq!(publish_day(Micros(-1)), Some(-1));
    }
}
