//! Sessions of a fleet, their records in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{self, Write};

use crate::calendar::{DAY_MS, Day, Hours, days};
use crate::clock::{Clock, day_number};
use crate::fleet::Fleet;
use crate::kind::Kind;
use crate::library::{Library, TemplateError};
use crate::options::{Options, OptionsError};
use crate::random::scramble;
use crate::session::{Session, Start};
use crate::write::Writer;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Records between two loops of requests.
const BURST_EVERY: u64 = 40_000;
/// What a loop may need.
const BURST_RECORDS: u64 = 1_200;
/// Records a day up to which sessions last as long as people work; beyond it all goes faster, so that no
/// more than some thousand sessions are under way at once.
const RECORDS_A_DAY_UNHURRIED: u64 = 40_000_000;

/// Why nothing, or not all, was made up.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The options ask for what cannot be.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A mistake in this crate.
    #[error(transparent)]
    Templates(#[from] TemplateError),
    /// The output was not taken.
    #[error("cannot write the log entries")]
    Write(#[from] io::Error),
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generated {
    /// Log entries.
    pub records: u64,
    /// Bytes, line ends included.
    pub bytes: u64,
    /// Runs of the CLI.
    pub sessions: u64,
}

/// Writes log entries of a made-up fleet, one a line, in the order of their time. The same options give the
/// same bytes. Memory depends on the users and on how many sessions are under way at once, not on how many
/// records there are.
///
/// # Errors
/// When the options ask for what cannot be, or the output does not take what is written.
pub fn generate(options: &Options, out: &mut dyn Write) -> Result<Generated, GenerateError> {
    let first = options.checked()?;
    let library = Library::load()?;
    let mut stream = Stream {
        options,
        library: &library,
        fleet: Fleet::new(options.users, options.seed),
        hours: Hours::new(),
        writer: Writer { library: &library, clock: Clock::new() },
        lanes: Lanes::default(),
        generated: Generated::default(),
        planned: 0,
        next_burst: BURST_EVERY / 2,
        buffer: Vec::with_capacity(BUFFER_BYTES + 256 * 1_024),
    };
    for (number, day) in (0..).zip(days(first, options.days, options.records, options.seed)) {
        stream.day(number, day, out)?;
    }
    stream.flush(out)?;
    out.flush()?;
    Ok(stream.generated)
}

struct Stream<'a> {
    options: &'a Options,
    library: &'a Library,
    fleet: Fleet,
    hours: Hours,
    writer: Writer<'a>,
    lanes: Lanes,
    generated: Generated,
    /// Records of all sessions that have started.
    planned: u64,
    /// When the next loop of requests comes, in records.
    next_burst: u64,
    buffer: Vec<u8>,
}

/// Sessions under way.
#[derive(Default)]
struct Lanes {
    /// The next record of each: when, which session, in which lane.
    next: BinaryHeap<Reverse<(i64, u64, usize)>>,
    sessions: Vec<Option<Lane>>,
    free: Vec<usize>,
}

struct Lane {
    session: Session,
    /// The next step.
    place: usize,
    /// What the session's times are multiplied with.
    pace: f64,
}

impl Lane {
    fn time_ms(&self) -> Option<i64> {
        let step = self.session.steps.get(self.place)?;
        Some(self.session.start_ms + (f64::from(step.at_ms) * self.pace) as i64)
    }
}

impl Stream<'_> {
    /// All records of a day: sessions start until their records fill it, and all end before midnight.
    fn day(&mut self, number: u32, day: Day, out: &mut dyn Write) -> Result<(), GenerateError> {
        let mut planned = 0;
        while planned < day.records || !self.lanes.next.is_empty() {
            let start = (planned < day.records).then(|| self.hours.time(planned, day.records));
            let start_ms = start.map(|time_ms| day_number(day.date) * i64::from(DAY_MS) + i64::from(time_ms));
            let next = self.lanes.next.peek().map(|Reverse((time_ms, ..))| *time_ms);
            match (start, start_ms, next) {
                (Some(time_ms), Some(start_ms), next) if next.is_none_or(|next| start_ms <= next) => {
                    planned += self.start(number, day, time_ms, day.records - planned);
                }
                _ => self.emit(),
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    /// Starts a session of at most so many records; gives how many.
    fn start(&mut self, number: u32, day: Day, time_ms: u32, records_max: u64) -> u64 {
        let id = self.generated.sessions;
        self.generated.sessions += 1;
        let is_burst = self.planned >= self.next_burst && records_max > BURST_RECORDS;
        if is_burst {
            self.next_burst += BURST_EVERY;
        }
        let start = Start {
            seed: scramble(self.options.seed ^ scramble(id + 1)),
            date: day.date,
            time_ms,
            day: number,
            days: self.options.days,
            is_burst,
        };
        let mut session = Session::start(self.library, &self.fleet, &mut self.writer.clock, start);
        session.steps.truncate(usize::try_from(records_max).unwrap_or(usize::MAX));
        let records = session.steps.len() as u64;
        self.planned += records;
        let pace = pace(&session, time_ms, self.options);
        self.lanes.add(Lane { session, place: 0, pace }, id);
        records
    }

    /// Writes the earliest record.
    fn emit(&mut self) {
        let Some(mut top) = self.lanes.next.peek_mut() else { return };
        let Reverse((time_ms, id, place)) = *top;
        let Some(lane) = self.lanes.sessions.get_mut(place).and_then(Option::as_mut) else { return };
        let insert_id = insert_id(self.options.seed, self.generated.records);
        write(&mut self.writer, &mut self.buffer, lane, time_ms, insert_id);
        self.generated.records += 1;
        lane.place += 1;
        match lane.time_ms() {
            Some(next_ms) => *top = Reverse((next_ms, id, place)),
            None => {
                PeekMut::pop(top);
                self.lanes.sessions[place] = None;
                self.lanes.free.push(place);
            }
        }
    }

    fn flush(&mut self, out: &mut dyn Write) -> Result<(), GenerateError> {
        self.generated.bytes += self.buffer.len() as u64;
        out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Lanes {
    fn add(&mut self, lane: Lane, id: u64) {
        let Some(time_ms) = lane.time_ms() else { return };
        let place = self.free.pop().unwrap_or(self.sessions.len());
        if place == self.sessions.len() {
            self.sessions.push(None);
        }
        self.sessions[place] = Some(lane);
        self.next.push(Reverse((time_ms, id, place)));
    }
}

/// Writes the next record of a session.
fn write(writer: &mut Writer<'_>, buffer: &mut Vec<u8>, lane: &mut Lane, time_ms: i64, insert_id: [u64; 2]) {
    let Lane { session, place, .. } = lane;
    if session.steps[*place].kind == Kind::UserPrompt {
        writer.ask(session, *place, time_ms);
    }
    writer.entry(buffer, session, *place, time_ms, insert_id);
    writer.remember(session, *place, time_ms);
}

/// Two numbers of which the first is never the same twice: a permutation of the record's own number.
fn insert_id(seed: u64, record: u64) -> [u64; 2] {
    let first = scramble(record ^ scramble(seed));
    [first, scramble(first ^ seed)]
}

/// What a session's times are multiplied with: less than 1 when the fleet is in a hurry, or when midnight
/// comes before the session's end.
fn pace(session: &Session, time_ms: u32, options: &Options) -> f64 {
    let records_a_day = options.records / u64::from(options.days);
    let hurry = RECORDS_A_DAY_UNHURRIED as f64 / records_a_day.max(RECORDS_A_DAY_UNHURRIED) as f64;
    let lasts_ms = session.steps.last().map_or(0, |step| step.at_ms).max(1);
    hurry.min(f64::from(DAY_MS - 1 - time_ms) / f64::from(lasts_ms))
}
