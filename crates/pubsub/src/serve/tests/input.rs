//! Requests of streams that break a rule.

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::streams::{first_request, stream};
use super::{SUBSCRIPTION, Server, TOPIC};
use crate::machine::Ticket;
use crate::proto::v1::{PullRequest, StreamingPullRequest};

/// What a stream that begins with these requests ends with.
async fn ends_with(server: &Server, requests: Vec<StreamingPullRequest>) -> Status {
    let mut requests = requests.into_iter();
    let (sender, receiver) = tokio::sync::mpsc::channel(10);
    sender.send(requests.next().unwrap()).await.unwrap();
    let mut subscriber = server.subscriber();
    let mut responses = match subscriber.streaming_pull(ReceiverStream::new(receiver)).await {
        Ok(responses) => responses.into_inner(),
        Err(status) => return status,
    };
    for request in requests {
        // When it has ended already, the responses say why.
        let _ = sender.send(request).await;
    }
    loop {
        match responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without an error"),
            Err(status) => return status,
        }
    }
}

/// Scenario: requests that break a rule, as the first one of a stream and as a later one.
/// Guarantees: the stream ends with INVALID_ARGUMENT and says which rule; the subscription goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_at_a_request_that_breaks_a_rule() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    let none = StreamingPullRequest::default;
    let foreign = crate::ack_id::write(1, Ticket { offset: 0, delivery: 1, epoch: 1, generation: 0 });
    let modify = |ids: &[&str], seconds: &[i32]| StreamingPullRequest {
        modify_deadline_ack_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        modify_deadline_seconds: seconds.to_vec(),
        ..StreamingPullRequest::default()
    };
    let ack = |id: &str| StreamingPullRequest { ack_ids: vec![id.to_owned()], ..none() };
    let lease = |seconds| StreamingPullRequest { stream_ack_deadline_seconds: seconds, ..none() };
    let in_any: Vec<(StreamingPullRequest, &str)> = vec![
        (lease(-1), "not -1"),
        (lease(9), "not 9"),
        (lease(601), "not 601"),
        (modify(&[&foreign], &[-1]), "not -1"),
        (modify(&[&foreign], &[601]), "not 601"),
        (modify(&[&foreign], &[]), "1 ack ids and 0 deadlines"),
        (modify(&[], &[10]), "0 ack ids and 1 deadlines"),
        (modify(&[&foreign, &foreign], &[10]), "2 ack ids and 1 deadlines"),
        (modify(&["nonsense"], &[10]), "invalid ack ID"),
        (modify(&[&foreign], &[10]), "another subscription"),
        (ack("nonsense"), "invalid ack ID"),
        (ack(""), "invalid ack ID"),
        (ack(&foreign), "another subscription"),
    ];
    let later: Vec<(StreamingPullRequest, &str)> = vec![
        (StreamingPullRequest { max_outstanding_bytes: 9, ..none() }, "in the first request"),
        (StreamingPullRequest { max_outstanding_bytes: -1, ..none() }, "in the first request"),
        (StreamingPullRequest { max_outstanding_messages: 9, ..none() }, "in the first request"),
        (
            StreamingPullRequest { subscription: format!("{SUBSCRIPTION}-other"), ..none() },
            "names the subscription",
        ),
    ];
    let first = [(none(), "projects/"), (ack("nonsense"), "projects/")];
    let mut cases = Vec::new();
    cases.extend(first.into_iter().map(|(request, text)| (vec![request], text)));
    for (request, text) in in_any.clone() {
        let begun = StreamingPullRequest { subscription: SUBSCRIPTION.to_owned(), ..request };
        // What the first request does not say is not a matter of the rule.
        let seconds = begun.stream_ack_deadline_seconds;
        let seconds = if seconds == 0 { 60 } else { seconds };
        cases.push((vec![StreamingPullRequest { stream_ack_deadline_seconds: seconds, ..begun }], text));
    }
    for (request, text) in in_any.into_iter().chain(later) {
        cases.push((vec![first_request(), request], text));
    }
    for (requests, text) in cases {
        let shown = format!("{:?}", requests.last());
        let status = ends_with(&server, requests).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status}");
        assert!(status.message().contains(text), "{shown}: {status}");
    }
    // The same name again and an empty request are no mistakes.
    let (requests, mut responses) = stream(&server, first_request()).await;
    let again = StreamingPullRequest { subscription: SUBSCRIPTION.to_owned(), ..none() };
    requests.send(again).await.unwrap();
    requests.send(none()).await.unwrap();
    server.publish(TOPIC, &[("a", "")]).await;
    assert_eq!(responses.message().await.unwrap().unwrap().received_messages.len(), 1);
    drop((requests, responses));
    let missing = PullRequest { subscription: String::new(), max_messages: 1, ..Default::default() };
    let error = server.subscriber().pull(missing).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}
