// The classes that protoc-gen-js makes of message.proto, thread.proto and user.proto: the same base class, accessor
// names and habits (a string field set to a number is kept, and left out when written; unknown fields are skipped).
import jspb from 'google-protobuf';

const STRING = 'string';

// [number, accessor, class of a sub-message]
function define(name, fields) {
  class Generated extends jspb.Message {
    constructor(data) {
      super();
      jspb.Message.initialize(this, data, 0, -1, null, null);
    }

    static deserializeBinary(bytes) {
      return read(new Generated(), new jspb.BinaryReader(bytes));
    }

    serializeBinary() {
      const writer = new jspb.BinaryWriter();
      write(this, writer);
      return writer.getResultBuffer();
    }
  }
  Object.defineProperty(Generated, 'name', { value: name });

  function read(message, reader) {
    while (reader.nextField()) {
      if (reader.isEndGroup()) break;
      const field = fields.find(([number]) => number === reader.getFieldNumber());
      if (!field) {
        reader.skipField();
      } else if (field[2] === STRING) {
        message[`set${field[1]}`](reader.readString());
      } else {
        const value = new field[2]();
        reader.readMessage(value, field[2].read);
        message[`set${field[1]}`](value);
      }
    }
    return message;
  }

  function write(message, writer) {
    for (const [number, accessor, type] of fields) {
      const value = message[`get${accessor}`]();
      if (type === STRING) {
        if (value.length > 0) writer.writeString(number, value);
      } else if (value != null) {
        writer.writeMessage(number, value, type.write);
      }
    }
  }

  for (const [number, accessor, type] of fields) {
    const text = type === STRING;
    Generated.prototype[`get${accessor}`] = function get() {
      return text
        ? jspb.Message.getFieldWithDefault(this, number, '')
        : jspb.Message.getWrapperField(this, type, number);
    };
    Generated.prototype[`set${accessor}`] = function set(value) {
      return text
        ? jspb.Message.setProto3StringField(this, number, value)
        : jspb.Message.setWrapperField(this, number, value);
    };
  }
  Generated.read = read;
  Generated.write = write;
  return Generated;
}

const User = define('User', [
  [1, 'Uid', STRING],
  [2, 'Nickname', STRING],
  [3, 'Avatar', STRING],
  [4, 'Type', STRING],
  [5, 'Extra', STRING],
]);

const Thread = define('Thread', [
  [1, 'Uid', STRING],
  [2, 'Topic', STRING],
  [3, 'Type', STRING],
  [4, 'State', STRING],
  [5, 'User', User],
  [6, 'Channel', STRING],
  [7, 'Extra', STRING],
]);

const Message = define('Message', [
  [1, 'Uid', STRING],
  [2, 'Type', STRING],
  [3, 'Content', STRING],
  [4, 'Status', STRING],
  [5, 'Createdat', STRING],
  [6, 'Channel', STRING],
  [7, 'Thread', Thread],
  [8, 'User', User],
  [9, 'Extra', STRING],
]);

export const messageProto = { Message };
export const threadProto = { Thread };
export const userProto = { User };
