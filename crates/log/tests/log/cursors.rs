//! Cursors and topics as things that are made, kept and deleted.

use millrace_log::{AppendError, CursorConfig, CursorStart, LogError, TopicConfig};
use millrace_model::{Offset, Source};

use crate::support::{Rig, append, message, put, texts};

/// Scenario: cursors are made at several places, advanced, sent back and deleted, with a crash after
/// every step, and the writing of one step fails.
/// Guarantees: a step that was reported done is still done after the crash; one that failed moved nothing.
#[test]
fn cursors_are_where_they_were_left() {
    let rig = Rig::new(41);
    let position = |name: &str| {
        rig.disk.crash();
        let (_log, topic) = rig.open_topic();
        topic.cursor(name).map(|cursor| cursor.position().unwrap())
    };
    let with = |step: &dyn Fn(&std::sync::Arc<millrace_log::Topic>)| {
        let (_log, topic) = rig.open_topic();
        step(&topic);
    };
    with(&|topic| {
        for _ in 0..5 {
            put(topic, "m");
        }
        topic.create_cursor("old", CursorStart::Oldest, CursorConfig::default()).unwrap();
        topic.create_cursor("new", CursorStart::End, CursorConfig::default()).unwrap();
        topic.create_cursor("mid", CursorStart::At(Offset(3)), CursorConfig::default()).unwrap();
        topic.create_cursor("out", CursorStart::At(Offset(6)), CursorConfig::default()).err().unwrap();
        topic.create_cursor("mid", CursorStart::Oldest, CursorConfig::default()).err().unwrap();
        topic.create_cursor("a/b", CursorStart::Oldest, CursorConfig::default()).err().unwrap();
    });
    assert_eq!(
        ["old", "new", "mid", "out"].map(position),
        [Some(0), Some(5), Some(3), None].map(|p| p.map(Offset))
    );
    with(&|topic| topic.cursor("old").unwrap().advance(Offset(2)).unwrap());
    assert_eq!(position("old"), Some(Offset(2)));
    with(&|topic| {
        let old = topic.cursor("old").unwrap();
        old.advance(Offset(1)).unwrap();
        assert_eq!(old.position().unwrap(), Offset(2), "a late advance changes nothing");
        old.advance(Offset(6)).unwrap_err();
        rig.disk.fail_next_syncs(1);
        old.advance(Offset(4)).unwrap_err();
        assert_eq!(old.position().unwrap(), Offset(2));
        old.seek(Offset(1)).unwrap();
    });
    assert_eq!(position("old"), Some(Offset(1)));
    with(&|topic| {
        let old = topic.cursor("old").unwrap();
        topic.delete_cursor("old").unwrap();
        assert!(matches!(old.position(), Err(LogError::NoCursor { .. })));
        assert!(matches!(topic.delete_cursor("old"), Err(LogError::NoCursor { .. })));
    });
    assert_eq!(position("old"), None);
}

/// Scenario: topics are made, given other settings, deleted and made again under the same name; the
/// process stops anywhere in a deletion.
/// Guarantees: settings survive, a deleted topic is gone or whole, its successor has another id and
/// nothing of it, and bad names are refused.
#[test]
fn topics_come_and_go() {
    for at in 1..20 {
        let rig = Rig::new(at);
        let id = {
            let (log, topic) = rig.open_topic();
            for _ in 0..30 {
                put(&topic, &"old".repeat(50));
            }
            topic.hold("pipeline", Offset(3));
            let changed = TopicConfig { bytes_max: 77_000, ..TopicConfig::default() };
            log.create_topic("events", changed).unwrap();
            assert!(matches!(log.create_topic("../x", TopicConfig::default()), Err(LogError::Name { .. })));
            assert!(matches!(log.delete_topic("nothing"), Err(LogError::NoTopic(_))));
            topic.id()
        };
        {
            let log = rig.open();
            let topic = log.topic("events").unwrap();
            assert_eq!((topic.config().bytes_max, topic.id()), (77_000, id));
            rig.disk.halt_after(at);
            let _ = log.delete_topic("events");
            assert!(matches!(append(&topic, vec![message("late")]), Err(AppendError::Closed { .. })));
        }
        if at % 2 == 0 {
            rig.disk.crash()
        } else {
            rig.disk.kill()
        }
        let log = rig.open();
        if let Some(topic) = log.topic("events") {
            assert_eq!((topic.failure(), topic.bounds().end), (None, Offset(30)), "stopped at {at}");
            log.delete_topic("events").unwrap();
        }
        let again = log.create_topic("events", TopicConfig::default()).unwrap();
        assert_ne!(again.id(), id);
        assert_eq!((again.holds().len(), put(&again, "new")), (0, Offset(0)));
        assert_eq!(texts(&again), ["new"]);
        log.maintain(rig.now()).unwrap();
    }
}
