//! What a word is.
//!
//! A text is folded: every character is turned to lower case, to upper case and to lower case again, all
//! as Unicode maps them in full. So `Straße` and `STRASSE` are the same, and so are `Σ`, `σ` and `ς`. Nothing
//! else is normalised: a composed and a decomposed `é` are different.
//!
//! Then it is cut where Unicode (UAX #29) sees a word boundary, at everything that is neither letter
//! nor digit, and between letters and digits. So `foo_bar.Baz2` has the words `foo`, `bar`, `baz` and
//! `2`, `can't` has `can` and `t`, and every Chinese character is a word. What combines with a
//! letter or digit belongs to it.

use unicode_segmentation::UnicodeSegmentation as _;

/// Calls `each` with every word of a text, folded, in order. `scratch` is overwritten.
pub(crate) fn for_each_word(text: &str, scratch: &mut String, mut each: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&first) = bytes.get(at) {
        let start = at;
        let class = CLASSES[usize::from(first)];
        match class {
            OTHER => {
                at += 1;
                continue;
            }
            LETTER | DIGIT => at = run_end(bytes, at, class),
            _ => {}
        }
        if bytes.get(at).is_none_or(u8::is_ascii) && class != BEYOND {
            each(fold_ascii(text, start..at, class, scratch));
            continue;
        }
        // The piece between two ASCII separators has characters beyond ASCII somewhere.
        let stop = |byte: &u8| CLASSES[usize::from(*byte)] == OTHER;
        let rest = bytes.get(start..).unwrap_or_default();
        at = start + rest.iter().position(stop).unwrap_or(rest.len());
        let piece = text.get(start..at).unwrap_or_default();
        scratch.clear();
        for character in piece.chars() {
            fold(character, scratch);
        }
        for segment in scratch.split_word_bounds() {
            split_segment(segment, &mut each, CUTS_MAX);
        }
    }
}

const OTHER: u8 = 0;
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const BEYOND: u8 = 3;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [OTHER; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = if byte.is_ascii_alphabetic() {
            LETTER
        } else if byte.is_ascii_digit() {
            DIGIT
        } else if byte >= 0x80 {
            BEYOND
        } else {
            OTHER
        };
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

fn run_end(bytes: &[u8], start: usize, class: u8) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|&byte| CLASSES[usize::from(byte)] != class);
    start + end.unwrap_or(rest.len())
}

fn fold_ascii<'t>(
    text: &'t str,
    range: std::ops::Range<usize>,
    class: u8,
    scratch: &'t mut String,
) -> &'t str {
    let word = text.get(range).unwrap_or_default();
    if class == DIGIT || !word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return word;
    }
    scratch.clear();
    scratch.push_str(word);
    scratch.make_ascii_lowercase();
    scratch
}

/// How often a piece of a piece is cut again.
const CUTS_MAX: usize = 4;

/// Cuts what is between two word boundaries into its words.
fn split_segment(segment: &str, each: &mut dyn FnMut(&str), cuts_left: usize) {
    // Where a word was cut out of something longer there can be a boundary that was none before:
    // without this a word would not always be its own word.
    let mut found = |word: &str| {
        if cuts_left == 0 || word.len() == segment.len() {
            each(word);
            return;
        }
        for inner in word.split_word_bounds() {
            split_segment(inner, each, cuts_left - 1);
        }
    };
    let mut start = 0;
    let mut class = OTHER;
    for (at, cluster) in segment.grapheme_indices(true) {
        let next = match cluster.chars().next() {
            Some(letter) if letter.is_alphabetic() => LETTER,
            Some(digit) if digit.is_numeric() => DIGIT,
            Some(_) | None => OTHER,
        };
        if next != class {
            if class != OTHER {
                found(segment.get(start..at).unwrap_or_default());
            }
            start = at;
            class = next;
        }
    }
    if class != OTHER {
        found(segment.get(start..).unwrap_or_default());
    }
}

fn fold(character: char, folded: &mut String) {
    for lower in character.to_lowercase() {
        for upper in lower.to_uppercase() {
            folded.extend(upper.to_lowercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        for_each_word(text, &mut String::new(), |word| words.push(word.to_owned()));
        words
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(words(text), expected, "{text:?}");
    }

    #[test]
    fn letters_and_digits_are_runs_of_their_own() {
        check("", &[]);
        check(" -- !", &[]);
        check("foo_bar.Baz2", &["foo", "bar", "baz", "2"]);
        check(
            "can't x:y 1,000.50",
            &["can", "t", "x", "y", "1", "000", "50"],
        );
        check("\u{1b}[0mRED\u{1b}[m", &["0", "mred", "m"]);
    }

    #[test]
    fn words_of_all_scripts_are_found_and_folded() {
        check("Zürich, ÄÖÜ", &["zürich", "äöü"]);
        check("Straße STRASSE", &["strasse", "strasse"]);
        check("ΣΊΣΥΦΟΣ σίσυφος", &["σίσυφοσ", "σίσυφοσ"]);
        check("don’t ½l·l", &["don", "t", "½", "l", "l"]);
        check("cafe\u{301}s", &["cafe\u{301}s"]);
        check("東京tower2号", &["東", "京", "tower", "2", "号"]);
        check("カタカナ", &["カタカナ"]);
        check("x\u{301}1", &["x\u{301}", "1"]);
        check("🎉party🎉", &["party"]);
    }

    #[test]
    fn what_is_folded_stays_as_it_is() {
        let mut once = String::new();
        let mut twice = String::new();
        for character in '\0'..=char::MAX {
            once.clear();
            twice.clear();
            fold(character, &mut once);
            once.chars().for_each(|folded| fold(folded, &mut twice));
            assert_eq!(once, twice, "{character:?}");
        }
    }

    proptest! {
        #[test]
        fn words_are_their_own_words(text in "\\PC{0,40}") {
            for word in words(&text) {
                prop_assert!(!word.is_empty());
                prop_assert_eq!(words(&word), [word.as_str()]);
            }
        }

        #[test]
        fn case_makes_no_difference_to_ascii(text in "[ -~]{0,60}") {
            let lower = words(&text.to_ascii_lowercase());
            prop_assert_eq!(&words(&text), &lower);
            prop_assert_eq!(words(&text.to_ascii_uppercase()), lower);
        }
    }
}
