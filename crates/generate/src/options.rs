//! What is asked of the generator.

use chrono::{Days, NaiveDate};

/// Days that a table may have partitions for: ten years, as the lake keeps them.
pub const DAYS_MAX: u32 = 3_650;
/// Users of one fleet: each costs 8 bytes of memory.
pub const USERS_MAX: u32 = 10_000_000;

/// What to make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Log entries, exactly.
    pub records: u64,
    /// The most users that they come from.
    pub users: u32,
    /// Days that they are spread over, each with at least one.
    pub days: u32,
    /// The same seed and the same other options give the same bytes.
    pub seed: u64,
    /// The last day.
    pub end: NaiveDate,
}

/// Why options cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No records, users or days.
    #[error("{0} is 0; ask for at least 1")]
    Zero(&'static str),
    /// Users who could not have a record each.
    #[error("{users} users cannot share {records} records; ask for fewer users or more records")]
    MoreUsersThanRecords {
        /// As asked.
        users: u32,
        /// As asked.
        records: u64,
    },
    /// Days that could not have a record each.
    #[error("{days} days cannot share {records} records; ask for fewer days or more records")]
    MoreDaysThanRecords {
        /// As asked.
        days: u32,
        /// As asked.
        records: u64,
    },
    /// More users than are kept in memory.
    #[error("{0} users are more than {USERS_MAX}")]
    TooManyUsers(u32),
    /// More days than there are partitions.
    #[error("{0} days are more than {DAYS_MAX}, the ten years that a table has partitions for")]
    TooManyDays(u32),
    /// A last day beyond the calendar of log entries (years 1 to 9999).
    #[error("{days} days up to {end} leave the years 1971 to 9998; choose another --end")]
    OutsideCalendar {
        /// As asked.
        days: u32,
        /// As asked.
        end: NaiveDate,
    },
}

impl Options {
    /// The first day, when all is well.
    pub(crate) fn checked(&self) -> Result<NaiveDate, OptionsError> {
        for (value, name) in
            [(self.records, "records"), (self.users.into(), "users"), (self.days.into(), "days")]
        {
            if value == 0 {
                return Err(OptionsError::Zero(name));
            }
        }
        if self.days > DAYS_MAX {
            return Err(OptionsError::TooManyDays(self.days));
        }
        if u64::from(self.users) > self.records {
            return Err(OptionsError::MoreUsersThanRecords { users: self.users, records: self.records });
        }
        if self.users > USERS_MAX {
            return Err(OptionsError::TooManyUsers(self.users));
        }
        if u64::from(self.days) > self.records {
            return Err(OptionsError::MoreDaysThanRecords { days: self.days, records: self.records });
        }
        let outside = OptionsError::OutsideCalendar { days: self.days, end: self.end };
        let (first, last) = (NaiveDate::from_ymd_opt(1971, 1, 1), NaiveDate::from_ymd_opt(9998, 12, 31));
        let start = self.end.checked_sub_days(Days::new(u64::from(self.days) - 1)).ok_or(outside)?;
        if Some(start) < first || Some(self.end) > last {
            return Err(outside);
        }
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(records: u64, users: u32, days: u32) -> Options {
        let end = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        Options { records, users, days, seed: 1, end }
    }

    #[test]
    fn impossible_options_are_refused() {
        assert!(options(1, 1, 1).checked().is_ok());
        assert_eq!(options(0, 1, 1).checked(), Err(OptionsError::Zero("records")));
        assert_eq!(options(1, 0, 1).checked(), Err(OptionsError::Zero("users")));
        assert_eq!(options(1, 1, 0).checked(), Err(OptionsError::Zero("days")));
        assert_eq!(
            options(5, 6, 1).checked(),
            Err(OptionsError::MoreUsersThanRecords { users: 6, records: 5 })
        );
        assert_eq!(
            options(5, 1, 6).checked(),
            Err(OptionsError::MoreDaysThanRecords { days: 6, records: 5 })
        );
        assert_eq!(options(9_000, 1, 3_651).checked(), Err(OptionsError::TooManyDays(3_651)));
        assert!(options(u64::MAX, USERS_MAX, DAYS_MAX).checked().is_ok());
        assert_eq!(
            options(u64::MAX, USERS_MAX + 1, 1).checked(),
            Err(OptionsError::TooManyUsers(10_000_001))
        );
        let early = Options { end: NaiveDate::MIN, ..options(9, 1, 9) };
        assert!(matches!(early.checked(), Err(OptionsError::OutsideCalendar { .. })));
    }
}
