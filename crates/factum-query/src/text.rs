//! Keywords and phrases.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use crate::invalid::InvalidFilter;
use crate::words::for_each_word;

/// Words and phrases that must all occur in the string values of a payload, each anywhere. The
/// words of a phrase follow each other within one string. Words are compared folded; keys of
/// objects do not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TextQuery {
    /// Each is a phrase of at least one word, folded.
    phrases: Vec<Box<[Box<str>]>>,
}

impl TextQuery {
    /// Reads words, and phrases in double quotes. A quote that is not closed ends with the text.
    ///
    /// # Errors
    /// [`InvalidFilter::Text`] when there is no word.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        let mut phrases = Vec::new();
        for (index, part) in text.split('"').enumerate() {
            if index % 2 == 1 {
                phrases.extend(phrase(part));
            } else {
                phrases.extend(single_words(part));
            }
        }
        Self::of(phrases)
    }

    /// Takes every word of a text for itself.
    ///
    /// # Errors
    /// [`InvalidFilter::Text`] when there is no word.
    pub fn words(text: &str) -> Result<Self, InvalidFilter> {
        Self::of(single_words(text))
    }

    /// Takes the words of a text as one phrase.
    ///
    /// # Errors
    /// [`InvalidFilter::Text`] when there is no word.
    pub fn phrase(text: &str) -> Result<Self, InvalidFilter> {
        Self::of(phrase(text).into_iter().collect())
    }

    fn of(mut phrases: Vec<Box<[Box<str>]>>) -> Result<Self, InvalidFilter> {
        if phrases.is_empty() {
            return Err(InvalidFilter::Text);
        }
        phrases.sort_unstable();
        phrases.dedup();
        Ok(Self { phrases })
    }

    /// Asks for what either asks for.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.phrases.extend(other.phrases);
        self.phrases.sort_unstable();
        self.phrases.dedup();
        self
    }

    /// Returns the phrases, each with its words, folded; a single word is a phrase of one.
    pub fn phrases(&self) -> impl Iterator<Item = &[Box<str>]> {
        self.phrases.iter().map(|phrase| &**phrase)
    }

    /// Returns how many words there are.
    pub(crate) fn n_words(&self) -> usize {
        self.phrases.iter().map(|phrase| phrase.len()).sum()
    }

    /// Returns how many bytes the words take.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.phrases.iter().flatten();
        words.map(|word| word.len()).sum()
    }

    /// Tells whether all words and phrases occur in some strings.
    pub(crate) fn matches<'a>(&self, strings: impl Iterator<Item = Cow<'a, str>>) -> bool {
        let mut words = Vec::new();
        let mut phrases = Vec::new();
        for phrase in &self.phrases {
            match &**phrase {
                [word] => words.push(&**word),
                phrase => phrases.push(Search::of(phrase)),
            }
        }
        let mut words = WordsLeft::of(words);
        let mut scratch = String::new();
        for string in strings {
            for search in &mut phrases {
                search.n_met = 0;
            }
            for_each_word(&string, &mut scratch, |word| {
                words.meets(word);
                phrases.retain_mut(|search| !search.meets(word));
            });
            if words.is_empty() && phrases.is_empty() {
                return true;
            }
        }
        false
    }
}

/// Words that have not been met yet.
enum WordsLeft<'q> {
    Few(Vec<&'q str>),
    Many(HashSet<&'q str>),
}

impl<'q> WordsLeft<'q> {
    fn of(words: Vec<&'q str>) -> Self {
        /// How many words are compared one by one before a table is worth making.
        const FEW: usize = 8;
        if words.len() <= FEW {
            Self::Few(words)
        } else {
            Self::Many(words.into_iter().collect())
        }
    }

    fn meets(&mut self, word: &str) {
        match self {
            Self::Few(words) => words.retain(|wanted| *wanted != word),
            Self::Many(words) => {
                words.remove(word);
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(words) => words.is_empty(),
            Self::Many(words) => words.is_empty(),
        }
    }
}

/// The search for one phrase in a row of words, after Knuth, Morris and Pratt: no word is looked
/// at twice, however the phrase repeats itself.
struct Search<'q> {
    words: &'q [Box<str>],
    /// For every number of words met, how many of them are met still when the next is another.
    fallbacks: Vec<usize>,
    n_met: usize,
}

impl<'q> Search<'q> {
    fn of(words: &'q [Box<str>]) -> Self {
        let mut search = Self {
            words,
            fallbacks: vec![0, 0],
            n_met: 0,
        };
        for word in words.iter().skip(1) {
            search.meets(word);
            search.fallbacks.push(search.n_met);
        }
        search.n_met = 0;
        search
    }

    /// Takes in the next word and tells whether the phrase is complete.
    fn meets(&mut self, word: &str) -> bool {
        loop {
            let wanted = self.words.get(self.n_met);
            if wanted.is_some_and(|wanted| &**wanted == word) {
                self.n_met += 1;
                break;
            }
            if self.n_met == 0 {
                break;
            }
            self.n_met = self.fallbacks.get(self.n_met).copied().unwrap_or_default();
        }
        self.n_met == self.words.len()
    }
}

fn single_words(text: &str) -> Vec<Box<[Box<str>]>> {
    let mut words = Vec::new();
    for_each_word(text, &mut String::new(), |word| {
        words.push(Box::from([Box::from(word)]));
    });
    words
}

fn phrase(text: &str) -> Option<Box<[Box<str>]>> {
    let mut words = Vec::new();
    for_each_word(text, &mut String::new(), |word| words.push(Box::from(word)));
    (!words.is_empty()).then(|| words.into())
}

/// Writes the words, and phrases in double quotes, as [`TextQuery::parse`] reads them.
impl fmt::Display for TextQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, phrase) in self.phrases.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            match &**phrase {
                [word] => write!(f, "{space}{word}")?,
                words => write!(f, "{space}\"{}\"", words.join(" "))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: bool, query: &str, strings: &[&str]) {
        let query = TextQuery::parse(query).unwrap();
        let found = query.matches(strings.iter().map(|&string| Cow::Borrowed(string)));
        assert_eq!(found, expected, "{query} in {strings:?}");
        assert_eq!(TextQuery::parse(&query.to_string()), Ok(query));
    }

    #[test]
    fn words_are_anywhere_and_phrases_in_one_string() {
        let strings = ["The Credit check of ann", "passed: check CREDIT"];
        check(true, "credit passed", &strings);
        check(true, "\"credit check\"", &strings);
        check(true, "\"check credit\"", &strings);
        check(false, "\"ann passed\"", &strings);
        check(false, "credits", &strings);
        check(true, "ann \"passed check", &strings);
        check(true, "\"a a b\"", &["a a a b"]);
        check(true, "\"a b a b c\"", &["a b a b a b c"]);
        check(false, "\"a b c\"", &["a b", "c"]);
    }

    #[test]
    fn a_query_has_a_word() {
        for wrong in ["", "\"\"", " -!"] {
            assert_eq!(TextQuery::parse(wrong), Err(InvalidFilter::Text));
            assert_eq!(TextQuery::phrase(wrong), Err(InvalidFilter::Text));
            assert_eq!(TextQuery::words(wrong), Err(InvalidFilter::Text));
        }
    }
}
