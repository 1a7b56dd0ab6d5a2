//! Numbers as the JSON of the suite holds them.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Writes a number as JSON: whole ones without a fraction, null when it is not finite.
pub fn json_number(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if number.fract() == 0.0 && number.abs() < 9e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// Writes step 40 as `40`, not as `40.0`.
#[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
pub(crate) fn whole_if_it_is<S: Serializer>(step: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    step.map(json_number).serialize(serializer)
}
