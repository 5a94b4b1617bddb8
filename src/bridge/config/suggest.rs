//! Suggestions for misspelled keys, values and names.

/// The maximum length of a word to compare. Longer words are not typing errors, and the time of a comparison is
/// quadratic in the length.
const MAX_LENGTH: usize = 64;

/// Returns the known word that is most similar to this one, if at most a third of the letters differ.
fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > MAX_LENGTH {
        return None;
    }
    let normalized = |word: &str| word.to_lowercase().replace('-', "_");
    let word = normalized(word);
    let distances =
        known.into_iter().map(|candidate| (strsim::levenshtein(&word, &normalized(candidate)), candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    let limit = word.chars().count().max(candidate.chars().count()) / 3;
    (distance <= limit).then_some(candidate)
}

/// Returns a hint: the most similar known word, or all of them.
pub(super) fn suggestion<'k>(word: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    if let Some(nearest) = nearest(word, known.clone()) {
        return format!("did you mean `{nearest}`?");
    }
    let known: Vec<String> = known.into_iter().map(|known| format!("`{known}`")).collect();
    match known.as_slice() {
        [] => "none is defined".to_owned(),
        [one] => format!("use {one}"),
        [more @ .., last] => format!("use {} or {last}", more.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_similar_words_are_suggested() {
        let known = ["cafile", "capath", "certificate", "hub"];
        assert_eq!(nearest("ca-file", known), Some("cafile"));
        assert_eq!(nearest("Certficate", known), Some("certificate"));
        assert_eq!(nearest("peers", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
        assert_eq!(suggestion("x", ["a", "b", "c"]), "use `a`, `b` or `c`");
        assert_eq!(suggestion("x", ["abc"]), "use `abc`");
        assert_eq!(suggestion("x", []), "none is defined");
    }
}
