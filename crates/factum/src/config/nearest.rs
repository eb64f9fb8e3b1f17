//! The right name for a wrong one.

/// Returns the known name that is nearest to `wrong`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance_max = (wrong.len() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .min()
        .map(|(_, name)| name)
}

/// Returns how many insertions, removals and replacements lead from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (n_before, here) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = n_before + 1;
        for (column, &there) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(here != there);
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
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let known = ["listen", "limits.event_bytes_max", "log.level"];
        let check = |wrong, expected| assert_eq!(nearest(wrong, known), expected);
        check("lisen", Some("listen"));
        check("log.lvl", Some("log.level"));
        check("limits.events_bytes_max", Some("limits.event_bytes_max"));
        check("colour", None);
        check("", None);
    }
}
