// What the tests share: where the broker is, connections that end with the test, and names.
'use strict';

const crypto = require('node:crypto');
const amqp = require('amqplib');
const callbackApi = require('amqplib/callback_api');

const URL = process.env.BROKER_URL || 'amqp://guest:guest@127.0.0.1:5672/%2F';

// A promise-style connection that is closed after the test, if the broker did not do it.
async function connect(t, options = '', socketOptions = {}) {
    const connection = await amqp.connect(URL + options, socketOptions);
    let open = true;
    connection.on('close', () => { open = false; });
    connection.on('error', () => { open = false; });
    t.after(async () => {
        if (open) {
            await connection.close();
        }
    });
    return connection;
}

// A callback-style connection, likewise.
function connectWithCallbacks(t) {
    return new Promise((resolve, reject) => {
        callbackApi.connect(URL, {}, (error, connection) => {
            if (error) {
                reject(error);
                return;
            }
            t.after(() => new Promise((done) => { connection.close(() => done()); }));
            resolve(connection);
        });
    });
}

function name(word = 'q') {
    return `clients.${word}.${crypto.randomBytes(6).toString('hex')}`;
}

// Collects what comes and lets a test wait for the n-th.
class Arrivals {
    constructor() {
        this.all = [];
        this.waiting = [];
    }

    add(value) {
        this.all.push(value);
        this.waiting = this.waiting.filter(({ count, resolve }) => {
            if (this.all.length >= count) {
                resolve(this.all);
                return false;
            }
            return true;
        });
    }

    reach(count) {
        if (this.all.length >= count) {
            return Promise.resolve(this.all);
        }
        return new Promise((resolve) => { this.waiting.push({ count, resolve }); });
    }
}

// The next event of an emitter, as a promise of its first argument.
function next(emitter, event) {
    return new Promise((resolve) => { emitter.once(event, resolve); });
}

// Asks again until the answer is true; for what has no event to wait for.
async function until(condition, seconds = 20) {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
        const value = await condition();
        if (value) {
            return value;
        }
        if (Date.now() > deadline) {
            throw new Error(`did not come true within ${seconds} s`);
        }
        await new Promise((resolve) => { setTimeout(resolve, 10); });
    }
}

module.exports = { URL, amqp, connect, connectWithCallbacks, name, Arrivals, next, until };
