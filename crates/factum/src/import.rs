//! What an import is made of: files of any kind, read line by line, and lines that become events
//! with ids that depend on nothing but the lines.

mod line;
mod source;

pub(crate) use crate::import::line::{InvalidLine, LineReader, Prepared};
pub(crate) use crate::import::source::open;
