//! When a fleet works: how many records each day has, and when in the day they come.

use chrono::{Datelike as _, Days, NaiveDate};

use crate::random::Random;

/// Milliseconds of a day.
pub(crate) const DAY_MS: u32 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// By hour of the local day: how likely somebody is at work.
pub(crate) const LOCAL_HOURS: [u32; 24] =
    [2, 1, 1, 1, 1, 2, 5, 14, 42, 86, 100, 96, 62, 70, 92, 98, 90, 64, 34, 22, 18, 14, 9, 4];
/// Where the users are: hours ahead of UTC, and how many of a hundred.
pub(crate) const REGIONS: [(i32, u32); 4] = [(-8, 18), (-5, 22), (1, 40), (6, 20)];

/// One day of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) date: NaiveDate,
    pub(crate) records: u64,
}

/// The days in turn, with as many records as there are in all and at least one each: work days over
/// week-ends, a fleet that grows by a quarter, no two days alike.
pub(crate) fn days(first: NaiveDate, count: u32, records: u64, seed: u64) -> impl Iterator<Item = Day> {
    let mut random = Random::of(seed, 0xda75);
    let dates = (0..count).filter_map(move |day| first.checked_add_days(Days::new(day.into())));
    let weighted: Vec<(NaiveDate, u64)> = dates
        .zip(0_u64..)
        .map(|(date, place)| {
            let base = if date.weekday().number_from_monday() > 5 { 18 } else { 100 };
            let growth = 100 + 25 * place / u64::from(count);
            (date, base * growth * u64::from(random.between(90, 110)))
        })
        .collect();
    let total: u64 = weighted.iter().map(|(_, weight)| weight).sum();
    let spare = records.saturating_sub(count.into());
    let mut before = 0;
    weighted.into_iter().map(move |(date, weight)| {
        let share = |sum: u64| (u128::from(spare) * u128::from(sum) / u128::from(total.max(1))) as u64;
        let records = 1 + share(before + weight) - share(before);
        before += weight;
        Day { date, records }
    })
}

/// The hours of a day in UTC, by how much of the fleet is at work.
pub(crate) struct Hours {
    /// The sum of the weights of all hours before.
    before: [u64; 25],
}

impl Hours {
    pub(crate) fn new() -> Self {
        let mut before = [0; 25];
        for hour in 0..24 {
            let weight: u32 = REGIONS.iter().map(|(ahead, users)| users * local_weight(hour, *ahead)).sum();
            before[hour as usize + 1] = before[hour as usize] + u64::from(weight);
        }
        Self { before }
    }

    /// The millisecond of the day by which `done` of `records` have come.
    pub(crate) fn time(&self, done: u64, records: u64) -> u32 {
        const SCALE: u128 = 1 << 32;
        let total = u128::from(self.before[24]) * SCALE;
        let reached = total * u128::from(done) / u128::from(records.max(1));
        let hour = (0..23).find(|hour| reached < u128::from(self.before[hour + 1]) * SCALE).unwrap_or(23);
        let start = u128::from(self.before[hour]) * SCALE;
        let weight = u128::from(self.before[hour + 1] - self.before[hour]).max(1) * SCALE;
        let part = (reached - start) * u128::from(HOUR_MS) / weight;
        ((hour as u64 * HOUR_MS + part as u64) as u32).min(DAY_MS - 1)
    }
}

/// How likely somebody so many hours ahead of UTC is at work in an hour of UTC; 0 to 100.
pub(crate) fn local_weight(utc_hour: i32, ahead: i32) -> u32 {
    LOCAL_HOURS[(utc_hour + ahead).rem_euclid(24) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 2).unwrap()
    }

    #[test]
    fn days_share_all_records_and_none_is_empty() {
        for (records, count) in
            [(1, 1), (30, 30), (31, 30), (1_000, 30), (10_000_000, 3_650), (u64::MAX / 2, 7)]
        {
            let days: Vec<Day> = days(first(), count, records, 5).collect();
            assert_eq!(days.len(), count as usize);
            assert_eq!(days.iter().map(|day| day.records).sum::<u64>(), records);
            assert!(days.iter().all(|day| day.records > 0));
        }
    }

    #[test]
    fn week_ends_are_quiet() {
        let days: Vec<Day> = days(first(), 7, 700_000, 5).collect();
        assert!(days[5].records * 3 < days[4].records, "{days:?}");
    }

    #[test]
    fn times_go_on_through_the_whole_day() {
        let hours = Hours::new();
        let times: Vec<u32> = (0..=1_000).map(|done| hours.time(done, 1_000)).collect();
        assert!(times.is_sorted());
        assert_eq!(times[0], 0);
        assert_eq!(times[1_000], DAY_MS - 1);
        // Half of a fleet that is mostly in Europe and America has worked by the European afternoon.
        assert!((12 * 3_600_000..17 * 3_600_000).contains(&times[500]), "{}", times[500]);
    }
}
