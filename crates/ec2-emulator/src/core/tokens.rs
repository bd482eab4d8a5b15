//! Client tokens: what makes a creation idempotent, and what burns them.

use serde::{Deserialize, Serialize};

use crate::api::ApiError;

use super::handle::Call;
use super::state::Core;
use super::timing::Millis;

/// What a client token stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    /// A digest of the request's other parameters.
    request: String,
    /// What the request made.
    pub made: Vec<String>,
    /// Set when what was made has failed or is gone: until then any request with the token is refused.
    burned_until: Option<Millis>,
}

impl Core {
    /// Looks a token up. `None`: the request is a new one.
    pub(crate) fn replay(
        &mut self,
        call: &Call,
        token: Option<&String>,
        request: &impl Serialize,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let Some(token) = token else { return Ok(None) };
        if token.len() > 64 || !token.is_ascii() {
            return Err(ApiError::parameter(format!(
                "Value ({token}) for parameter clientToken is invalid. A client token is at most 64 ASCII characters."
            )));
        }
        let key = format!("{}/{token}", call.action);
        if self.tokens.get(&key).is_some_and(|known| known.burned_until.is_some_and(|until| until <= call.now)) {
            self.tokens.remove(&key);
        }
        match self.tokens.get(&key) {
            None => Ok(None),
            Some(known) if known.burned_until.is_none() && known.request == digest(request) => {
                Ok(Some(known.made.clone()))
            }
            Some(_) => Err(ApiError::new(
                "IdempotentParameterMismatch",
                "The client token you have provided is associated with a resource that is already deleted or was \
                 requested with other parameters. Please use a different client token.",
            )),
        }
    }

    /// Remembers what a request made.
    pub(crate) fn keep_token(
        &mut self,
        call: &Call,
        token: Option<&String>,
        request: &impl Serialize,
        made: Vec<String>,
    ) {
        if let Some(token) = token {
            let entry = Token { request: digest(request), made, burned_until: None };
            self.tokens.insert(format!("{}/{token}", call.action), entry);
        }
    }

    /// What a token made has failed or is gone.
    pub(crate) fn burn_tokens(&mut self, now: Millis, made: &str) {
        let until = now + self.config.limits.burned_token_ms;
        for token in self.tokens.values_mut() {
            if token.burned_until.is_none() && token.made.iter().any(|id| id == made) {
                token.burned_until = Some(until);
            }
        }
    }
}

fn digest(request: &impl Serialize) -> String {
    // Requests are plain data: they always serialise.
    let text = serde_json::to_string(request).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}
