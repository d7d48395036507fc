//! Lists, page by page. A page token is the last name of the page before.

use std::collections::BTreeMap;

use super::Broker;
use super::topics::own_topic;
use crate::error::PubsubError;
use crate::limits::PAGE_ENTRIES_MAX;
use crate::names::{Kind, Name, parse_project};
use crate::proto::v1;

impl Broker {
    pub(crate) fn list_topics(
        &self,
        request: &v1::ListTopicsRequest,
    ) -> Result<v1::ListTopicsResponse, PubsubError> {
        let project = parse_project(&request.project)?;
        let registry = self.registry();
        let known = registry.resources().topics.iter().filter(|(name, _)| name.project == project);
        let mut topics: BTreeMap<String, v1::Topic> =
            known.map(|(name, record)| (name.to_string(), self.shown_topic(record))).collect();
        if project == self.topics.project() {
            for topic in self.topics.all_own() {
                let name = Name::new(Kind::Topic, project, topic.name());
                topics.entry(name.to_string()).or_insert_with(|| own_topic(&name));
            }
        }
        let (page, next_page_token) = page(topics.into_iter(), request.page_size, &request.page_token)?;
        Ok(v1::ListTopicsResponse { topics: page, next_page_token })
    }

    pub(crate) fn list_topic_subscriptions(
        &self,
        request: &v1::ListTopicSubscriptionsRequest,
    ) -> Result<v1::ListTopicSubscriptionsResponse, PubsubError> {
        self.topics.find(&request.topic)?;
        let registry = self.registry();
        let all = registry.resources().subscriptions.iter();
        let of_topic =
            all.filter(|(_, record)| record.resource.topic == request.topic && !record.resource.detached);
        let names = of_topic.map(|(name, _)| (name.to_string(), name.to_string()));
        let (subscriptions, next_page_token) = page(names, request.page_size, &request.page_token)?;
        Ok(v1::ListTopicSubscriptionsResponse { subscriptions, next_page_token })
    }

    pub(crate) fn list_topic_snapshots(
        &self,
        request: &v1::ListTopicSnapshotsRequest,
    ) -> Result<v1::ListTopicSnapshotsResponse, PubsubError> {
        self.topics.find(&request.topic)?;
        let registry = self.registry();
        let all = registry.resources().snapshots.iter();
        let of_topic = all.filter(|(_, record)| record.resource.topic == request.topic);
        let names = of_topic.map(|(name, _)| (name.to_string(), name.to_string()));
        let (snapshots, next_page_token) = page(names, request.page_size, &request.page_token)?;
        Ok(v1::ListTopicSnapshotsResponse { snapshots, next_page_token })
    }

    pub(crate) fn list_subscriptions(
        &self,
        request: &v1::ListSubscriptionsRequest,
    ) -> Result<v1::ListSubscriptionsResponse, PubsubError> {
        let project = parse_project(&request.project)?;
        let registry = self.registry();
        let all = registry.resources().subscriptions.iter();
        let of_project = all.filter(|(name, _)| name.project == project);
        let named = of_project.map(|(name, record)| (name.to_string(), record.resource.clone()));
        let (subscriptions, next_page_token) = page(named, request.page_size, &request.page_token)?;
        let subscriptions =
            subscriptions.into_iter().map(|resource| self.shown(registry.resources(), resource)).collect();
        Ok(v1::ListSubscriptionsResponse { subscriptions, next_page_token })
    }

    pub(crate) fn list_snapshots(
        &self,
        request: &v1::ListSnapshotsRequest,
    ) -> Result<v1::ListSnapshotsResponse, PubsubError> {
        let project = parse_project(&request.project)?;
        let registry = self.registry();
        let all = registry.resources().snapshots.iter();
        let of_project = all.filter(|(name, _)| name.project == project);
        let named = of_project.map(|(name, record)| (name.to_string(), record.resource.clone()));
        let (snapshots, next_page_token) = page(named, request.page_size, &request.page_token)?;
        Ok(v1::ListSnapshotsResponse { snapshots, next_page_token })
    }
}

/// One page of a list that is in order of name.
pub(super) fn page<T>(
    all: impl Iterator<Item = (String, T)>,
    size: i32,
    token: &str,
) -> Result<(Vec<T>, String), PubsubError> {
    let size = usize::try_from(size)
        .map_err(|_| PubsubError::invalid(format!("page_size is not negative, but it is {size}")))?;
    let size = if size == 0 { PAGE_ENTRIES_MAX } else { size.min(PAGE_ENTRIES_MAX) };
    let mut rest = all.skip_while(|(name, _)| name.as_str() <= token).peekable();
    let (mut entries, mut last) = (Vec::new(), String::new());
    while entries.len() < size
        && let Some((name, entry)) = rest.next()
    {
        entries.push(entry);
        last = name;
    }
    let next = if rest.peek().is_some() { last } else { String::new() };
    Ok((entries, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_are_the_list() {
        let all = || (10..35).map(|number| (format!("n{number}"), number));
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (entries, next) = page(all(), 10, &token).unwrap();
            assert!(entries.len() <= 10);
            seen.extend(entries);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, (10..35).collect::<Vec<_>>());
        assert!(page(all(), -1, "").is_err());
        assert_eq!(page(all(), 0, "").unwrap().0.len(), 25);
    }
}
