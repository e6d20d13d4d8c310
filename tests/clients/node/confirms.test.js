// amqplib's promise API: confirm channels, returns, flow of writes.
'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { connect, name, Arrivals, next } = require('./broker');

async function confirmChannel(t) {
    const channel = await (await connect(t)).createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    return { channel, queue };
}

test('a callback per message', async (t) => {
    const { channel, queue } = await confirmChannel(t);
    const order = [];
    await Promise.all([...Array(100).keys()].map((number) => new Promise((resolve, reject) => {
        channel.sendToQueue(queue, Buffer.from('x'), {}, (error) => {
            order.push(number);
            return error ? reject(error) : resolve();
        });
    })));
    assert.strictEqual(order.length, 100);
    assert.strictEqual((await channel.checkQueue(queue)).messageCount, 100);
});

test('waitForConfirms for a batch', async (t) => {
    const { channel, queue } = await confirmChannel(t);
    for (let batch = 1; batch <= 5; batch++) {
        for (let number = 0; number < 200; number++) {
            channel.publish('', queue, Buffer.from('x'), { persistent: true });
        }
        await channel.waitForConfirms();
        assert.strictEqual((await channel.checkQueue(queue)).messageCount, batch * 200);
    }
});

test('waitForConfirms with nothing to wait for', async (t) => {
    const { channel } = await confirmChannel(t);
    await channel.waitForConfirms();
});

test('a return comes before its confirm', async (t) => {
    const { channel } = await confirmChannel(t);
    const events = [];
    channel.on('return', (message) => {
        events.push(['return', message.fields.replyCode, message.content.toString()]);
    });
    channel.publish('', name('nobody'), Buffer.from('back'), { mandatory: true },
        (error) => events.push(['confirm', error]));
    await channel.waitForConfirms();
    assert.deepStrictEqual(events, [['return', 312, 'back'], ['confirm', null]]);
});

test('unroutable without mandatory is confirmed and dropped', async (t) => {
    const { channel } = await confirmChannel(t);
    channel.on('return', () => assert.fail('returned'));
    channel.publish('', name('nobody'), Buffer.from('gone'));
    await channel.waitForConfirms();
});

test('confirms while consuming on the same channel', async (t) => {
    const { channel, queue } = await confirmChannel(t);
    const got = new Arrivals();
    await channel.prefetch(10);
    await channel.consume(queue, (message) => {
        got.add(Number(message.content));
        channel.ack(message);
    });
    for (let number = 0; number < 500; number++) {
        channel.sendToQueue(queue, Buffer.from(`${number}`));
    }
    await channel.waitForConfirms();
    assert.deepStrictEqual(await got.reach(500), [...Array(500).keys()]);
});

test('a full write buffer drains', async (t) => {
    const connection = await connect(t);
    const channel = await connection.createConfirmChannel({ highWaterMark: 8 });
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const body = Buffer.alloc(64 * 1024, 'x');
    let full = 0;
    for (let sent = 0; sent < 300; sent++) {
        if (!channel.sendToQueue(queue, body)) {
            full += 1;
            await next(channel, 'drain');
        }
    }
    await channel.waitForConfirms();
    assert.ok(full > 0, 'the buffer was never full');
    assert.strictEqual((await channel.checkQueue(queue)).messageCount, 300);
});

for (const size of [0, 1, 131064, 131065, 1 << 20, 10 << 20]) {
    test(`a message of ${size} bytes`, async (t) => {
        const { channel, queue } = await confirmChannel(t);
        const body = Buffer.alloc(size);
        for (let at = 0; at < size; at += 1) {
            body[at] = (at * 31 + (at >> 12)) & 255;
        }
        channel.sendToQueue(queue, body);
        await channel.waitForConfirms();
        const message = await channel.get(queue, { noAck: true });
        assert.strictEqual(Buffer.compare(message.content, body), 0);
    });
}

test('confirms of a fanout to many queues', async (t) => {
    const { channel } = await confirmChannel(t);
    const { exchange } = await channel.assertExchange(name('x'), 'fanout',
        { durable: false, autoDelete: true });
    const queues = [];
    for (let number = 0; number < 10; number++) {
        queues.push((await channel.assertQueue('', { exclusive: true })).queue);
        await channel.bindQueue(queues[number], exchange, '');
    }
    for (let number = 0; number < 50; number++) {
        channel.publish(exchange, '', Buffer.from(`${number}`));
    }
    await channel.waitForConfirms();
    for (const queue of queues) {
        assert.strictEqual((await channel.checkQueue(queue)).messageCount, 50);
    }
});
