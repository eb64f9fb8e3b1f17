//! Tests of the embedded store through its public face.

mod rolling;
