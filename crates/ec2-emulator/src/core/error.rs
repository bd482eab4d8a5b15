pub use crate::api::ApiError;
