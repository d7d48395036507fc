//! The nearest known name to an unknown one.

/// The candidate most like `wanted`, letters of either case alike; `None` when nothing is near.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted = wanted.to_lowercase();
    // Below 0.7 the suggestions of this measure stop looking like typing mistakes.
    const LIKENESS_MIN: f64 = 0.7;
    candidates
        .into_iter()
        .map(|candidate| (likeness(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0).then_with(|| right.1.cmp(left.1)))
        .map(|(_, candidate)| candidate.to_owned())
}

fn likeness(left: &str, right: &str) -> f64 {
    // Two measures: swapped and mistyped letters, and a wanted name that is a part of the right one.
    let edits = strsim::normalized_damerau_levenshtein(left, right);
    let contained = left.len() >= 4 && (right.contains(left) || left.contains(right));
    if contained { edits.max(0.7) } else { edits.max(strsim::jaro_winkler(left, right) - 0.15) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_their_name() {
        let names = ["timestamp", "severity", "logName", "jsonPayload_json"];
        assert_eq!(nearest("timestmap", names), Some("timestamp".to_owned()));
        assert_eq!(nearest("LOGNAM", names), Some("logName".to_owned()));
        assert_eq!(nearest("jsonPayload", names), Some("jsonPayload_json".to_owned()));
        assert_eq!(nearest("xyz", names), None);
    }
}
