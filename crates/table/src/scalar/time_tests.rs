use super::*;
use chrono::DateTime;
use proptest::prelude::*;

/// 2024-05-06T07:08:09Z
const MOMENT: i64 = 1_714_979_289 * SECOND;
const HOUR: i64 = 3600 * SECOND;

#[test]
fn timestamps_in_every_spelling() {
    for (text, micros) in [
        ("2024-05-06T07:08:09Z", MOMENT),
        ("2024-05-06t07:08:09z", MOMENT),
        ("2024-05-06 07:08:09", MOMENT),
        ("2024-05-06 07:08:09 UTC", MOMENT),
        ("2024-05-06T07:08:09UTC", MOMENT),
        ("2024-5-6 7:8:9", MOMENT),
        ("2024/05/06 07:08:09", MOMENT),
        (" 2024-05-06T07:08:09Z ", MOMENT),
        ("2024-05-06T07:08:09+00:00", MOMENT),
        ("2024-05-06T12:38:09+05:30", MOMENT),
        ("2024-05-06T12:38:09+0530", MOMENT),
        ("2024-05-06 02:08:09 -05:00", MOMENT),
        ("2024-05-06 02:08:09-05", MOMENT),
        ("2024-05-06 02:08:09-5", MOMENT),
        ("2024-05-06 00:08:09 America/Los_Angeles", MOMENT),
        ("2024-05-06T00:08:09 America/Los_Angeles", MOMENT),
        ("2024-05-06 12:38:09 Asia/Kolkata", MOMENT),
        ("2024-05-06T07:08:09.5Z", MOMENT + 500_000),
        ("2024-05-06T07:08:09.123456Z", MOMENT + 123_456),
        ("2024-05-06T07:08:09.838999986Z", MOMENT + 838_999),
        ("2024-05-06T07:08:09.9999999999999Z", MOMENT + 999_999),
        ("1714979289", MOMENT),
        ("1714979289.25", MOMENT + 250_000),
        ("1.714979289e9", MOMENT),
        ("2024-05-06", MOMENT - 7 * HOUR - 489 * SECOND),
        ("2024-05-06-08:00", MOMENT + HOUR - 489 * SECOND),
        ("2024-05-06 America/Los_Angeles", MOMENT - 489 * SECOND),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("-0.000001", -1),
        ("0", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND),
        ("2016-12-31T23:59:60.7Z", 1_483_228_800 * SECOND),
        ("0001-01-01T00:00:00Z", MICROS_MIN),
        ("9999-12-31T23:59:59.999999999Z", MICROS_MAX),
        // The clock goes from 1:59 to 3:00 and, in autumn, through 1:30 twice.
        ("2024-03-10 02:30:00 America/New_York", 1_710_055_800 * SECOND),
        ("2024-11-03 01:30:00 America/New_York", 1_730_611_800 * SECOND),
    ] {
        assert_eq!(timestamp(text), Ok(micros), "{text}");
    }
}

#[test]
fn timestamps_that_are_none() {
    for (text, problem) in [
        ("", Format),
        ("now", Format),
        ("2024-05", Format),
        ("2024-13-01", Format),
        ("2023-02-29", Format),
        ("2024-05-06T", Format),
        ("2024-05-06T07:08", Format),
        ("2024-05-06T24:00:00", Format),
        ("2024-05-06T07:60:00", Format),
        ("2024-05-06T07:08:61", Format),
        ("2024-05-06T07:08:09.Z", Format),
        ("2024-05-06T07:08:09X", Format),
        ("06.05.2024", Format),
        ("Mon, 06 May 2024 07:08:09 GMT", Format),
        ("24-05-06", Format),
        ("2024-05-06 07:08:09 Mars/Base", Zone),
        ("2024-05-06 07:08:09+15:00", Zone),
        ("2024-05-06 07:08:09+05:60", Zone),
        ("2024-05-06 07:08:09 +", Zone),
        ("0000-01-01", OutOfRange),
        ("0001-01-01T00:00:00+01:00", OutOfRange),
        ("9999-12-31T23:59:59-01:00", OutOfRange),
        ("-99999999999", OutOfRange),
        ("1714979289000", NotSeconds),
        ("1714979289000000000", NotSeconds),
        ("1e300", NotSeconds),
    ] {
        assert_eq!(timestamp(text), Err(problem), "{text}");
    }
}

#[test]
fn days_times_and_datetimes() {
    assert_eq!(date("1970-01-01"), Ok(0));
    assert_eq!(date("1969-12-31"), Ok(-1));
    assert_eq!(date("2024-2-9"), Ok(19_762));
    assert_eq!((date("0001-01-01"), date("9999-12-31")), (Ok(-719_162), Ok(2_932_896)));
    assert_eq!(date("0000-12-31"), Err(OutOfRange));
    for text in ["", "2024/05/06", "20240506", "2024-05-06T00:00:00", "2024-00-01", "10000-01-01"] {
        assert_eq!(date(text), Err(Format), "{text}");
    }
    let time = |text: &str| {
        let mut out = Vec::new();
        time_of_day(text).map(|micros| time_into(micros, &mut out)).ok()?;
        String::from_utf8(out).ok()
    };
    assert_eq!(time("7:8:9").as_deref(), Some("07:08:09"));
    assert_eq!(time("23:59:59.9999999").as_deref(), Some("23:59:59.999999"));
    assert_eq!(time("00:00:00.05").as_deref(), Some("00:00:00.050000"));
    assert_eq!(time("12:00:60").as_deref(), Some("12:01:00"));
    for text in ["", "7", "07:08", "24:00:00", "07:08:09Z", "23:59:60", "07:08:09.", "-1:00:00"] {
        assert_eq!(time(text), None, "{text}");
    }
    assert_eq!(datetime("2024-05-06T07:08:09.000001"), Ok(MOMENT + 1));
    assert_eq!(datetime("2024-05-06 07:08:09"), Ok(MOMENT));
    assert_eq!(datetime("2024-05-06"), Ok(MOMENT - 7 * HOUR - 489 * SECOND));
    assert_eq!(datetime("2024-05-06T07:08:09Z"), Err(HasZone));
    assert_eq!(datetime("2024-05-06 07:08:09 +02"), Err(HasZone));
    assert_eq!(datetime("1714979289"), Err(Format));
    assert_eq!(datetime("9999-12-31T23:59:60"), Err(OutOfRange));
}

proptest! {
    #[test]
    fn moments_survive_another_writer(micros in MICROS_MIN..=MICROS_MAX) {
        let moment = DateTime::from_timestamp_micros(micros).unwrap();
        prop_assert_eq!(timestamp(&moment.to_rfc3339()), Ok(micros));
        let civil = moment.naive_utc().format("%Y-%m-%d %H:%M:%S%.f").to_string();
        prop_assert_eq!(timestamp(&civil), Ok(micros));
        prop_assert_eq!(datetime(&civil), Ok(micros));
    }

    #[test]
    fn nothing_panics(text in "[0-9]{0,5}[-/]?[0-9]{0,3}[-/]?[0-9]{0,3}[ Tt]?[0-9:.]{0,12}[-+Zz ]?[a-zA-Z/0-9:]{0,8}|\\PC{0,30}") {
        let _ = (timestamp(&text), datetime(&text), date(&text), time_of_day(&text));
    }
}
