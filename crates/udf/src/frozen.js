/*
 * Replaces Math.random and the clock by the message's own: evaluated before the user's scripts, holding on
 * to the built-ins that it needs. Gives the function that is called before each message with the time in
 * milliseconds and four 32-bit seeds. While scripts are loaded it is 1970-01-01 and the seeds are 0.
 */
(function () {
  'use strict';
  var NativeDate = Date, construct = Reflect.construct, apply = Reflect.apply;
  var toText = NativeDate.prototype.toString;
  var now = 0, a = 0, b = 0, c = 0, d = 0;

  // sfc32 of PractRand: passes its tests, and four additions are all it takes.
  function next() {
    var sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum | 0;
    return sum >>> 0;
  }

  function define(object, name, value) {
    Object.defineProperty(object, name, { value: value, writable: true, enumerable: false, configurable: true });
  }

  // Seven parameters, as the original's length says.
  function FrozenDate(year, month, day, hours, minutes, seconds, milliseconds) {
    if (new.target === undefined) return apply(toText, new NativeDate(now), []);
    return construct(NativeDate, arguments.length === 0 ? [now] : arguments, new.target);
  }
  define(FrozenDate, 'name', 'Date');
  define(FrozenDate, 'UTC', NativeDate.UTC);
  define(FrozenDate, 'parse', NativeDate.parse);
  define(FrozenDate, 'now', { now() { return now; } }.now);
  Object.defineProperty(FrozenDate, 'prototype', { value: NativeDate.prototype, writable: false });
  define(NativeDate.prototype, 'constructor', FrozenDate);
  define(globalThis, 'Date', FrozenDate);

  // 53 bits, as the original gives them.
  define(Math, 'random', {
    random() { return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992; },
  }.random);
  define(globalThis, 'performance', { timeOrigin: 0, now() { return 0; } });

  return function (milliseconds, first, second, third, fourth) {
    now = milliseconds;
    a = first; b = second; c = third; d = fourth;
  };
})()
