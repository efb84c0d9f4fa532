//! The receipts service.
