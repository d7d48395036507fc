//! The log as its users see it, on the simulated disk wherever it does not have to be the real one.

mod appending;
mod cursors;
mod damage;
mod failing;
mod fixture;
mod keeping;
mod machine;
mod production;
mod reading;
mod support;
