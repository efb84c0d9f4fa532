//! What a request says that wants to become a WebSocket (RFC 6455, 4.2.1).

use http::header::{self, HeaderName};
use http::{HeaderMap, Method};

/// Whether it is a request for one, of the only version there is. Its key is not looked at.
pub fn is_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    let has = |name, token: &str| words(headers, name).any(|word| word.eq_ignore_ascii_case(token));
    method == Method::GET
        && has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
}

/// The subprotocols that the client offers, the one it likes best first.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    words(headers, header::SEC_WEBSOCKET_PROTOCOL)
}

/// Whether a page of this origin may connect; when `allowed` is empty, any may. Only browsers send an origin: other
/// clients are not asked for one.
pub fn is_allowed_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) if !allowed.is_empty() => allowed.iter().any(|a| a.as_bytes() == origin.as_bytes()),
        _ => true,
    }
}

fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_asked_for_only_when_the_list_says_so() {
        let mut headers = HeaderMap::new();
        let allowed = ["https://shop.example".to_owned()];
        assert!(is_allowed_origin(&headers, &allowed));
        headers.insert(header::ORIGIN, "https://evil.example".parse().unwrap());
        assert!(is_allowed_origin(&headers, &[]) && !is_allowed_origin(&headers, &allowed));
        headers.insert(header::ORIGIN, "https://shop.example".parse().unwrap());
        assert!(is_allowed_origin(&headers, &allowed));
    }

    #[test]
    fn words_of_a_header_may_be_many_and_in_any_case() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        headers.append(header::UPGRADE, "WebSocket".parse().unwrap());
        headers.append(header::SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        assert!(is_upgrade(&Method::GET, &headers) && !is_upgrade(&Method::POST, &headers));
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, "mqttv3.1, mqtt".parse().unwrap());
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, "x".parse().unwrap());
        assert_eq!(
            subprotocols(&headers).collect::<Vec<_>>(),
            ["mqttv3.1", "mqtt", "x"]
        );
        headers.remove(header::UPGRADE);
        assert!(!is_upgrade(&Method::GET, &headers));
    }
}
