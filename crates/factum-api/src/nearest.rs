//! The name that was probably meant.

/// Returns the candidate that is nearest to `name`, if one is near enough to be meant.
pub(crate) fn nearest(name: &str, candidates: &[&'static str]) -> Option<&'static str> {
    // Nobody means a short name with a long one; and the distance costs time by length.
    let shown: String = name
        .chars()
        .take(40)
        .collect::<String>()
        .to_ascii_lowercase();
    let distance_max = (shown.len() / 3).max(1);
    let measured = candidates.iter().map(|&candidate| {
        let plain = candidate.to_ascii_lowercase();
        (distance(&shown, &plain.replace('_', "")), candidate)
    });
    measured
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= distance_max)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, where an underscore costs nothing: `event_types` means `eventTypes`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().filter(|&character| character != '_').collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (line, wanted) in b.chars().enumerate() {
        let mut diagonal = line;
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
        for (column, &character) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(character != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["eventTypes", "aggregateTypes", "tags", "ids"];
        let check = |name, expected| assert_eq!(nearest(name, &names), expected, "{name}");
        check("event_types", Some("eventTypes"));
        check("eventType", Some("eventTypes"));
        check("tag", Some("tags"));
        check("id", Some("ids"));
        check("payload", None);
        check("", None);
        check(&"x".repeat(100_000), None);
    }
}
