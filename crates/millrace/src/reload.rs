//! Looks at the scripts' files now and then, and takes up what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_pipeline::VersionAct;

use crate::node::Node;
use crate::pipelines::{Slot, Versions};

/// How often it is looked who is due.
pub const TICK: Duration = Duration::from_millis(250);

/// Who was looked at when.
#[derive(Default)]
pub struct Watch {
    seen: BTreeMap<String, Seen>,
}

struct Seen {
    due: Instant,
    /// News of the look before: an editor may be half way through the file, so that it is taken up only
    /// when it has stayed the same for a tick.
    news: Option<String>,
}

impl Watch {
    /// Looks at those that are due. Blocks for as long as a trial may take.
    pub fn look(&mut self, node: &Node) {
        for slot in node.pipelines().all() {
            self.look_at(&slot);
        }
    }

    fn look_at(&mut self, slot: &Arc<Slot>) {
        let Some(Versions { files, desk }) = &slot.udf else { return };
        // A setting that makes no sense was refused when it was read.
        let Ok(Some(interval)) = files.settings().reload_interval() else { return };
        let now = Instant::now();
        let first = || Seen { due: now + interval, news: None };
        let seen = self.seen.entry(slot.name.clone()).or_insert_with(first);
        if now < seen.due {
            return;
        }
        let news = desk.news();
        if news.is_some() && news != seen.news {
            (seen.due, seen.news) = (now + TICK, news);
            return;
        }
        (seen.due, seen.news) = (now + interval, None);
        if news.is_some() {
            // What comes of it is logged and in the note; a verdict is counted and in the history, too.
            let _ = desk.take_news(VersionAct::Reload);
        }
    }
}
