//! The table itself. Whoever adds a name decides who sends it; the page of the protocols is checked against this.

use super::rule::Rule;

/// What people say and do.
pub(super) const EVERYBODY: Rule = Rule::new(true, true, true, true);
/// What visitors get and do not send.
const TO_VISITORS: Rule = Rule::new(false, true, true, true);
/// What is the staff's business.
const STAFF_SIDE: Rule = Rule::new(false, true, true, false);
/// What the system says, to visitors too.
const SYSTEM: Rule = Rule::new(false, false, true, true);
/// What the system tells the staff.
const SYSTEM_TO_STAFF: Rule = Rule::new(false, false, true, false);
/// What only Longwire can know.
const SERVER: Rule = Rule::new(false, false, false, true);

/// Every name that has a meaning, by who sends it.
#[rustfmt::skip]
pub(super) const TYPES: &[(Rule, &[&str])] = &[
    // Text and media, and what stands in their place.
    (EVERYBODY, &[
        "TEXT", "IMAGE", "FILE", "DOCUMENT", "AUDIO", "VOICE", "VIDEO", "MUSIC", "LOCATION", "LINK", "CARD", "URL", "GOODS", "ORDER",
        "STICKER", "QUOTATION", "FORWARD", "ARTICLE", "BLOG", "EMAIL", "PHONE_NUMBER", "EMAILL_ADDRESS", "WECHAT_NUMBER", "EXTRA", "SHAKE",
    ]),
    // Transient, and what is done with a message. REACTION and PLAYBACK are about another's, and change nothing of it.
    (EVERYBODY, &["TYPING", "PREVIEW", "PROCESSING", "DELIVERED", "READ", "RECALL", "REACTION", "PLAYBACK"]),
    // Answers: to forms, to prompts, to a robot.
    (EVERYBODY, &[
        "POLL_SUBMIT", "FORM_SUBMIT", "CHOICE_SUBMIT", "CONFIRM_SUBMIT", "BUTTON_SUBMIT", "TICKET_SUBMIT", "CUSTOMER_SUBMIT",
        "LEAVE_MSG_SUBMIT", "RATE_SUBMIT", "RATE_CANCEL", "FAQ_QUESTION", "FAQ_Q", "FAQ_UP", "FAQ_DOWN", "ROBOT_UP", "ROBOT_DOWN",
        "QUEUE_CANCEL", "INVITE_VISITOR_ACCEPT", "INVITE_VISITOR_REJECT",
    ]),
    // Calls: either side calls, and either hears it.
    (EVERYBODY, &[
        "INVITE_AUDIO", "INVITE_AUDIO_ACCEPT", "INVITE_AUDIO_REJECT", "INVITE_AUDIO_CANCEL", "INVITE_AUDIO_TIMEOUT",
        "INVITE_VIDEO", "INVITE_VIDEO_ACCEPT", "INVITE_VIDEO_REJECT", "INVITE_VIDEO_CANCEL", "INVITE_VIDEO_TIMEOUT",
        "WEBRTC_AUDIO_INVITE", "WEBRTC_AUDIO_INVITE_ACCEPT", "WEBRTC_AUDIO_INVITE_REJECT", "WEBRTC_AUDIO_INVITE_CANCEL",
        "WEBRTC_VIDEO_INVITE", "WEBRTC_VIDEO_INVITE_ACCEPT", "WEBRTC_VIDEO_INVITE_REJECT", "WEBRTC_VIDEO_INVITE_CANCEL",
    ]),
    // What an agent offers, asks or announces.
    (TO_VISITORS, &[
        "WELCOME", "NOTICE", "GUESS", "HOT", "SHORTCUT", "POLL", "PREFORM", "FORM", "CHOICE", "CONFIRM", "BUTTON", "RATE_INVITE", "RATE",
        "LEAVE_MSG", "LEAVE_MSG_REPLIED", "THREAD", "TICKET", "FAQ", "FAQ_ANSWER", "FAQ_A", "QA", "GOODS_UPDATE", "ORDER_UPDATE",
        "INVITE_VISITOR", "INVITE_VISITOR_TIMEOUT", "INVITE_VISITOR_CANCEL", "AGENT_CLOSED", "GROUP_CREATE", "GROUP_INVITE", "GROUP_DISMISS",
    ]),
    // Its place in the queue; money and goods on their way.
    (TO_VISITORS, &[
        "QUEUE", "QUEUE_NOTICE", "QUEUE_UPDATE", "QUEUE_ACCEPT", "QUEUE_TIMEOUT", "ROUTING_POOL", "PAY", "PAY_SUCCESS", "PAY_FAILURE",
        "REFUND", "REFUND_SUCCESS", "REFUND_FAILURE", "LOGISTICS", "LOGISTICS_UPDATE", "LOGISTICS_DELIVERED", "LOGISTICS_EXCEPTION",
    ]),
    // Robots' answers. Consoles of agents send them too, when an assistant drafts for them.
    (TO_VISITORS, &[
        "ROBOT", "ROBOT_CANCEL", "ROBOT_UNANSWERED", "ROBOT_ERROR", "ROBOT_STREAM", "ROBOT_STREAM_START", "ROBOT_STREAM_END",
        "ROBOT_STREAM_CANCEL", "ROBOT_STREAM_UNANSWERED", "ROBOT_STREAM_ERROR", "STREAM", "STREAM_END",
    ]),
    // Who has the conversation, among colleagues.
    (STAFF_SIDE, &[
        "TRANSFER", "TRANSFER_REJECT", "TRANSFER_ACCEPT", "TRANSFER_TIMEOUT", "TRANSFER_CANCEL",
        "INVITE", "INVITE_REJECT", "INVITE_ACCEPT", "INVITE_TIMEOUT", "INVITE_CANCEL", "INVITE_EXIT", "INVITE_REMOVE",
        "INVITE_GROUP", "INVITE_GROUP_REJECT", "INVITE_GROUP_ACCEPT", "INVITE_GROUP_TIMEOUT", "INVITE_GROUP_CANCEL",
        "INVITE_KBASE", "INVITE_KBASE_REJECT", "INVITE_KBASE_ACCEPT", "INVITE_KBASE_TIMEOUT", "INVITE_KBASE_CANCEL",
        "INVITE_ORGANIZATION", "INVITE_ORGANIZATION_REJECT", "INVITE_ORGANIZATION_ACCEPT", "INVITE_ORGANIZATION_TIMEOUT",
        "INVITE_ORGANIZATION_CANCEL",
    ]),
    // The system's own words: an agent's page neither makes them nor can be made to believe them by a colleague.
    (SYSTEM, &["SYSTEM", "SYSTEM_ALARM", "CONTINUE", "AUTO_CLOSED", "VISITOR_CLOSED", "KICKOFF"]),
    (SYSTEM_TO_STAFF, &["NOTIFICATION_AGENT_REPLY_TIMEOUT", "NOTIFICATION_RATE_SUBMITTED"]),
    (SERVER, &["EVENT", "MEMBERSHIP", "ERROR"]),
];

/// What holds for names that are not listed and begin so; the first that fits. All others are custom, and pass.
pub(super) const FAMILIES: &[(&str, Rule)] = &[
    ("INVITE_VISITOR", EVERYBODY),
    ("INVITE_AUDIO", EVERYBODY),
    ("INVITE_VIDEO", EVERYBODY),
    ("INVITE", STAFF_SIDE),
    ("TRANSFER", STAFF_SIDE),
    ("NOTIFICATION_", SYSTEM_TO_STAFF),
    ("ROBOT_", TO_VISITORS),
];
