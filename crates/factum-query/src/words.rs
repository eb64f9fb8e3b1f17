//! What a word is.
//!
//! A text is cut at every ASCII character that is neither letter nor digit, then where Unicode
//! (UAX #29) sees a word boundary, then at the marks that UAX #29 allows inside words (`’`, `·`,
//! `‿`, …), then between letters and digits. So `foo_bar.Baz2` has the words `foo`, `bar`, `baz`
//! and `2`, `can't` has `can` and `t`, and every Chinese character is a word. A combining mark
//! belongs to the letter before it.
//!
//! Words are compared folded: every character is turned to upper case and then to lower case,
//! both as Unicode maps them in full. So `Straße` and `STRASSE` are the same word, and so are `Σ`,
//! `σ` and `ς`. Nothing else is normalised: a composed and a decomposed `é` are different.

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
        for segment in piece.split_word_bounds() {
            split_segment(segment, scratch, &mut each);
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

/// Cuts a segment between two word boundaries of UAX #29 into its words.
fn split_segment(segment: &str, scratch: &mut String, each: &mut impl FnMut(&str)) {
    scratch.clear();
    let mut class = OTHER;
    for character in segment.chars() {
        let next = if character.is_alphabetic() {
            LETTER
        } else if character.is_numeric() {
            DIGIT
        } else if is_mark_inside(character) {
            OTHER
        } else {
            // A combining or formatting character: it goes with what is before it.
            class
        };
        if next != class && !scratch.is_empty() {
            each(scratch);
            scratch.clear();
        }
        class = next;
        if class != OTHER {
            fold(character, scratch);
        }
    }
    if !scratch.is_empty() {
        each(scratch);
    }
}

fn fold(character: char, folded: &mut String) {
    for upper in character.to_uppercase() {
        folded.extend(upper.to_lowercase());
    }
}

/// Tells whether UAX #29 joins what stands on both sides of a character although it is neither
/// letter nor digit: its classes MidLetter, MidNum, MidNumLet and ExtendNumLet beyond ASCII.
const fn is_mark_inside(character: char) -> bool {
    matches!(
        character,
        '\u{b7}'
            | '\u{387}'
            | '\u{55f}'
            | '\u{5f4}'
            | '\u{2027}'
            | '\u{fe13}'
            | '\u{fe55}'
            | '\u{ff1a}'
            | '\u{2018}'
            | '\u{2019}'
            | '\u{2024}'
            | '\u{fe52}'
            | '\u{ff07}'
            | '\u{ff0e}'
            | '\u{37e}'
            | '\u{589}'
            | '\u{60c}'
            | '\u{60d}'
            | '\u{66c}'
            | '\u{7f8}'
            | '\u{2044}'
            | '\u{fe10}'
            | '\u{fe14}'
            | '\u{fe50}'
            | '\u{fe54}'
            | '\u{ff0c}'
            | '\u{ff1b}'
            | '\u{202f}'
            | '\u{203f}'
            | '\u{2040}'
            | '\u{2054}'
            | '\u{fe33}'
            | '\u{fe34}'
            | '\u{fe4d}'..='\u{fe4f}' | '\u{ff3f}'
    )
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

    proptest! {
        #[test]
        fn words_are_their_own_words(text in "\\PC{0,40}") {
            for word in words(&text) {
                prop_assert!(!word.is_empty());
                let again = words(&word);
                prop_assert_eq!(again.concat(), word);
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
