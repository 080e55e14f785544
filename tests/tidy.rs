//! Rules that a program can check.
