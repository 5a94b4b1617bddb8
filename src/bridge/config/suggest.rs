//! What was likely meant by a word that is none.

/// The one of the known words that is the nearest to this, if any is near.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A long one is no slip of the fingers, and takes its time.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let distances = known.into_iter().map(|candidate| {
        let plain = candidate.to_lowercase().replace('-', "_");
        (distance(&word, &plain), candidate)
    });
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    let most = word.chars().count().max(candidate.chars().count()) / 3;
    (distance <= most).then_some(candidate)
}

/// How many letters have to be inserted, deleted or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in (1usize..).zip(one.chars()) {
        let mut left = index;
        let mut next = vec![left];
        for ((above, diagonal), other) in row.iter().skip(1).zip(&row).zip(&other) {
            let changed = diagonal.saturating_add(usize::from(letter != *other));
            left = left.saturating_add(1).min(above.saturating_add(1)).min(changed);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// `; did you mean NEAREST?`, or what there is to choose from.
pub(super) fn instead<'k>(word: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let known: Vec<String> = known.into_iter().map(|known| format!("`{known}`")).collect();
            match known.as_slice() {
                [] => "there is none".to_owned(),
                [one] => format!("there is only {one}"),
                [more @ .., last] => format!("there are {} and {last}", more.join(", ")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("cafile", "ca_file", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_nearest_is_near() {
        let known = ["cafile", "capath", "certificate", "hub"];
        assert_eq!(nearest("ca-file", known), Some("cafile"));
        assert_eq!(nearest("Certficate", known), Some("certificate"));
        assert_eq!(nearest("peers", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(instead("x", ["a", "b", "c"]), "there are `a`, `b` and `c`");
    }
}
