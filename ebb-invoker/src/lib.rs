#![no_std]
//! The invoker: a serverless platform that speaks Apache OpenWhisk's REST API.
//!
//! `loader.js` and `loader/` are what Node runs inside an instance.
