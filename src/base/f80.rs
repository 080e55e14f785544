//! Long doubles in software.
