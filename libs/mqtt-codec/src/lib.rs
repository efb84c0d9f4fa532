//! A strict MQTT 3.1.1 and 5 codec: bytes in, validated packets out.
