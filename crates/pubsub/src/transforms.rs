//! Single message transforms: JavaScript functions that change messages or leave them out, those of a topic
//! before they are published, those of a subscription before they are delivered
//! (<https://cloud.google.com/pubsub/docs/smts/smts-overview>).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use millrace_model::{AttributeBlock, MessageBatch, MessageLayout, Micros, Offset, TopicId};
use millrace_udf::{ChildCommand, Evaluator, Script, Shape, Udf, UdfConfig, Verdict};
use tokio::sync::Semaphore;

use crate::error::PubsubError;
use crate::limits::{PUBLISH_BYTES_MAX, TRANSFORMS_MAX};
use crate::proto::v1;
use crate::proto::v1::message_transform::Transform;
use crate::sync::lock;

/// Messages that are run before the clock is looked at.
const CHUNK_MESSAGES: usize = 8;
/// How long one request's messages may take together; the last chunk may end later.
const TIME_MAX: Duration = Duration::from_secs(2);

/// The transforms of a topic or subscription that are not disabled, in order.
#[derive(Debug)]
pub(crate) struct Transforms {
    steps: Vec<Step>,
    /// Requests that may run at once, each with engines of its own.
    pub(crate) places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Step {
    udf: Udf,
    /// Engines that nobody uses now.
    idle: Mutex<Vec<Evaluator>>,
}

/// A message on its way through.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) offset: Offset,
    pub(crate) publish_time: Micros,
    pub(crate) data: Bytes,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) ordering_key: String,
}

impl Item {
    /// What it weighs against byte budgets, as a message of the log.
    pub(crate) fn size_bytes(&self) -> usize {
        let lengths = 2 * size_of::<u16>();
        let attributes = self.attributes.iter().map(|(key, value)| lengths + key.len() + value.len());
        self.data.len() + attributes.sum::<usize>() + self.ordering_key.len()
    }
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It goes on like this.
    Message(Item),
    /// A transform left it out.
    LeftOut,
    /// A transform failed; says which, and how.
    Failed(String),
    /// There was no time for it, or no room.
    NotReached,
}

impl Outcome {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(item) => item.size_bytes(),
            _ => 0,
        }
    }
}

impl Transforms {
    /// Loads what a resource lists; `None` when nothing is to be run.
    ///
    /// # Errors
    /// When there are too many, a function is there twice or does not load, or a transform is of a kind that
    /// is not served.
    pub(crate) fn load(
        listed: &[v1::MessageTransform],
        child: Option<&ChildCommand>,
    ) -> Result<Option<Arc<Self>>, PubsubError> {
        if listed.len() > TRANSFORMS_MAX {
            return Err(PubsubError::invalid(format!(
                "there are at most {TRANSFORMS_MAX} message_transforms, these are {}",
                listed.len()
            )));
        }
        let (mut steps, mut functions) = (Vec::new(), BTreeSet::new());
        for (index, transform) in listed.iter().enumerate() {
            let of = |what: String| format!("message_transforms[{index}]: {what}");
            let udf = match &transform.transform {
                Some(Transform::JavascriptUdf(udf)) => udf,
                Some(Transform::AiInference(_)) => {
                    return Err(PubsubError::unimplemented(of(
                        "ai_inference is not served: call the model where messages are received".to_owned(),
                    )));
                }
                None => return Err(PubsubError::invalid(of("no javascript_udf is set".to_owned()))),
            };
            if !functions.insert(&udf.function_name) {
                return Err(PubsubError::invalid(of(format!(
                    "another transform calls {:?}, too: each has a function_name of its own",
                    udf.function_name
                ))));
            }
            // One that is disabled is loaded all the same, so that it can be enabled.
            let udf = load(udf, child).map_err(|error| PubsubError::invalid(of(error.to_string())))?;
            if !transform.disabled {
                steps.push(Step { udf, idle: Mutex::default() });
            }
        }
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let places = Arc::new(Semaphore::new(at_once));
        Ok((!steps.is_empty()).then(|| Arc::new(Self { steps, places })))
    }

    /// Runs messages of a topic through all transforms, each outcome in its message's place, until they take
    /// too long or have become `bytes_max` bytes. Blocks.
    ///
    /// # Errors
    /// When no engine can be had.
    pub(crate) fn run(
        &self,
        topic: TopicId,
        items: Vec<Item>,
        bytes_max: usize,
    ) -> Result<Vec<Outcome>, PubsubError> {
        let mut evaluators = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let idle = lock(&step.idle).pop();
            let started = idle.map_or_else(|| step.udf.evaluator(), Ok);
            evaluators.push(started.map_err(|error| PubsubError::unavailable(error.to_string()))?);
        }
        let until = Instant::now() + TIME_MAX;
        let mut outcomes = Vec::with_capacity(items.len());
        let (mut items, mut bytes) = (items.into_iter(), 0);
        while items.len() > 0 && (outcomes.is_empty() || (bytes < bytes_max && Instant::now() < until)) {
            let mut chunk: Vec<Outcome> = items.by_ref().take(CHUNK_MESSAGES).map(Outcome::Message).collect();
            for (step, evaluator) in self.steps.iter().zip(&mut evaluators) {
                step.run(topic, evaluator, &mut chunk);
            }
            bytes += chunk.iter().map(Outcome::bytes).sum::<usize>();
            outcomes.extend(chunk);
        }
        outcomes.extend(items.map(|_| Outcome::NotReached));
        for (step, evaluator) in self.steps.iter().zip(evaluators) {
            lock(&step.idle).push(evaluator);
        }
        Ok(outcomes)
    }
}

/// Loads one function within the service's limits: 20 KB of script, half a second for a message.
fn load(udf: &v1::JavaScriptUdf, child: Option<&ChildCommand>) -> Result<Udf, millrace_udf::UdfError> {
    let script = Script { name: format!("{}.js", udf.function_name), source: udf.code.clone() };
    Udf::load(UdfConfig {
        shape: Shape::MessageTransform,
        output_bytes_max: PUBLISH_BYTES_MAX,
        child: child.cloned(),
        native_plan: false,
        keep_empty_data: true,
        ..UdfConfig::new(vec![script], udf.function_name.clone())
    })
}

impl Step {
    /// Runs what is still a message.
    fn run(&self, topic: TopicId, evaluator: &mut Evaluator, chunk: &mut [Outcome]) {
        let mut places = Vec::with_capacity(chunk.len());
        let mut batch = MessageBatch::new(topic);
        for (index, outcome) in chunk.iter_mut().enumerate() {
            let Outcome::Message(item) = outcome else { continue };
            match add(&mut batch, item) {
                Ok(()) => places.push(index),
                Err(error) => *outcome = Outcome::Failed(error.to_string()),
            }
        }
        let verdicts = evaluator.evaluate(&batch, 0..batch.len());
        for (index, verdict) in places.into_iter().zip(verdicts) {
            let outcome = &mut chunk[index];
            let before = std::mem::replace(outcome, Outcome::LeftOut);
            *outcome = self.after(before, verdict);
        }
    }

    fn after(&self, before: Outcome, verdict: Verdict) -> Outcome {
        let function = &self.udf.config().function;
        match (before, verdict) {
            (Outcome::Message(_), Verdict::Filtered) => Outcome::LeftOut,
            (Outcome::Message(_), Verdict::Failed(failure)) => {
                Outcome::Failed(format!("{function}: {}", failure.message))
            }
            (Outcome::Message(_), Verdict::Row(returned)) if returned.quoted.is_some() => Outcome::Failed(
                format!("{function}: the returned data hold a lone surrogate, which is no text"),
            ),
            (Outcome::Message(item), Verdict::Row(returned)) => {
                let attributes: BTreeMap<_, _> =
                    returned.attributes.unwrap_or_default().into_iter().collect();
                if returned.text.is_empty() && attributes.is_empty() {
                    let rule = "the returned message has neither data nor attributes";
                    return Outcome::Failed(format!("{function}: {rule}"));
                }
                Outcome::Message(Item { data: Bytes::from(returned.text), attributes, ..item })
            }
            (other, _) => other,
        }
    }
}

/// Puts a message into a batch.
fn add(batch: &mut MessageBatch, item: &Item) -> Result<(), millrace_model::AttributeError> {
    let pairs = item.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let block = AttributeBlock::pack(pairs)?;
    let parts = [&item.data[..], block.as_bytes(), item.ordering_key.as_bytes()];
    let mut buffer = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    let [data, attributes, ordering_key] = parts.map(|part| {
        let start = buffer.len();
        buffer.extend_from_slice(part);
        start..buffer.len()
    });
    let buffer = batch.add_buffer(buffer.freeze());
    let (offset, publish_time) = (item.offset, item.publish_time);
    batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(function: &str, code: &str) -> v1::MessageTransform {
        let udf = v1::JavaScriptUdf { function_name: function.to_owned(), code: code.to_owned() };
        v1::MessageTransform { transform: Some(Transform::JavascriptUdf(udf)), ..Default::default() }
    }

    fn item(offset: u64, data: &str) -> Item {
        Item {
            offset: Offset(offset),
            publish_time: Micros(1_700_000_000_000_000),
            data: Bytes::copy_from_slice(data.as_bytes()),
            attributes: [("k".to_owned(), data.to_owned())].into(),
            ordering_key: "key".to_owned(),
        }
    }

    fn show(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Message(item) => {
                format!("{} {:?}", String::from_utf8_lossy(&item.data), item.attributes)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn messages_go_through_all_in_order_and_keep_their_places() {
        let first = "function a(m, meta) {
            if (m.data === 'out') return null;
            if (m.data === 'bad') throw new Error('mine');
            if (m.data === 'nothing') return {data: ''};
            if (m.data === 'half') return {data: '\\ud800'};
            return {data: m.data + meta.ordering_key, attributes: m.attributes};
        }";
        let second = "function b(m, meta) { m.attributes.seen = m.data; return m; }";
        let off =
            v1::MessageTransform { disabled: true, ..listed("c", "function c(m, meta) { return null }") };
        let transforms = Transforms::load(&[listed("a", first), off, listed("b", second)], None);
        let transforms = transforms.unwrap().unwrap();
        let texts: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let data = ["out", "x", "bad", "nothing", "half"].into_iter().chain(texts.iter().map(String::as_str));
        let items = (7..).zip(data).map(|(offset, data)| item(offset, data)).collect();
        let outcomes = transforms.run(TopicId([1; 16]), items, usize::MAX).unwrap();
        let shown: Vec<String> = outcomes.iter().map(show).collect();
        assert_eq!(shown[0], "LeftOut");
        assert_eq!(shown[1], r#"xkey {"k": "x", "seen": "xkey"}"#);
        assert!(shown[2].contains("a: Error: mine"), "{}", shown[2]);
        assert!(shown[3].contains("neither data nor attributes"), "{}", shown[3]);
        assert!(shown[4].contains("lone surrogate"), "{}", shown[4]);
        assert_eq!(shown[24], r#"19key {"k": "19", "seen": "19key"}"#);
        assert_eq!(shown.len(), 25);
        // Engines are used again.
        let items = (0..9).map(|offset| item(offset, "x")).collect();
        let outcomes = transforms.run(TopicId([1; 16]), items, 1).unwrap();
        assert!(matches!(outcomes[..], [.., Outcome::Message(_), Outcome::NotReached]), "{outcomes:?}");
        assert!(transforms.steps.iter().all(|step| lock(&step.idle).len() == 1));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_place() {
        let good = |name: &str| listed(name, &format!("function {name}(m, meta) {{ return m }}"));
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(good).into();
        let ai = Transform::AiInference(v1::AiInference::default());
        let ai = v1::MessageTransform { transform: Some(ai), ..Default::default() };
        let long = listed("f", &format!("function f(m, meta) {{ return m }} //{}", "x".repeat(21_000)));
        for (listed, code, text) in [
            (many, tonic::Code::InvalidArgument, "at most 5"),
            (vec![good("a"), good("a")], tonic::Code::InvalidArgument, "message_transforms[1]: another"),
            (vec![listed("f", "function g(m, meta) {}")], tonic::Code::InvalidArgument, "no function `f`"),
            (vec![listed("f", "function (")], tonic::Code::InvalidArgument, "syntax error"),
            (vec![long], tonic::Code::InvalidArgument, "20480 bytes"),
            (vec![v1::MessageTransform::default()], tonic::Code::InvalidArgument, "no javascript_udf"),
            (vec![ai], tonic::Code::Unimplemented, "ai_inference"),
        ] {
            let error = Transforms::load(&listed, None).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!(Transforms::load(&[], None).unwrap().is_none());
    }
}
