//! Our own last step of optimisation.

mod json_paths;

pub(crate) use json_paths::share_json_parses;
