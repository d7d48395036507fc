/*
 * Cloud Logging LogEntry -> row of the table gemini_raw_logs.
 *
 * Scalar fields pass as they are; fields that hold objects become their JSON text, in columns whose
 * names end in _json. A field that the entry has not is left out, so that its column stays NULL.
 * Plain ECMAScript 5: runs unchanged here and in the Dataflow template Cloud_PubSub_to_BigQuery
 * (javascriptTextTransformFunctionName = transform).
 */
var SCALARS = ['timestamp', 'receiveTimestamp', 'logName', 'insertId', 'severity', 'trace', 'spanId'];
var OBJECTS = ['resource', 'labels', 'operation', 'httpRequest', 'jsonPayload'];

function transform(inJson) {
  var entry = JSON.parse(inJson);
  var row = {};
  var i, name, value;
  for (i = 0; i < SCALARS.length; i++) {
    name = SCALARS[i];
    value = entry[name];
    if (value !== undefined && value !== null) {
      row[name] = value;
    }
  }
  for (i = 0; i < OBJECTS.length; i++) {
    name = OBJECTS[i];
    value = entry[name];
    if (value !== undefined && value !== null) {
      row[name + '_json'] = JSON.stringify(value);
    }
  }
  return JSON.stringify(row);
}
