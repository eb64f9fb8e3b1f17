//! The beginning of what the other side said, kept for people to read.

/// Collects text up to a bound.
#[derive(Debug)]
pub(crate) struct Excerpt {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Excerpt {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
        }
    }

    /// Adds what still finds room.
    pub(crate) fn add(&mut self, part: &[u8]) {
        let room = self.bytes_max - self.bytes.len();
        self.bytes.extend(part.iter().take(room));
    }

    /// Returns the text, or `None` if nothing was said. What is no text is shown as such, and
    /// control characters become spaces, so that no terminal obeys them.
    pub(crate) fn finish(self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let plain = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        let text: String = text.chars().map(plain).collect();
        (!text.is_empty()).then_some(text)
    }
}

/// Makes an excerpt of one text.
pub(crate) fn excerpt(text: &str, bytes_max: usize) -> Option<String> {
    let mut excerpt = Excerpt::new(bytes_max);
    excerpt.add(text.as_bytes());
    excerpt.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        let mut excerpt = Excerpt::new(6);
        excerpt.add(b"a\x1b[");
        excerpt.add(b"2Jxyz");
        assert_eq!(excerpt.finish().unwrap(), "a [2Jx");
        assert_eq!(super::excerpt("", 5), None);
        assert_eq!(super::excerpt("\u{1F600}", 2).unwrap(), "\u{fffd}");
    }
}
