//! Runs the commands of the documentation, the demo and the CI examples as a reader would run them.

mod ci_examples;
mod demo;
mod pages;
