// amqplib's promise API: connections, channels, and what goes wrong with them.
'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { URL, amqp, connect, name, next } = require('./broker');

test('server properties and negotiated limits', async (t) => {
    const connection = await connect(t);
    const { serverProperties } = connection.connection;
    assert.ok(serverProperties.product);
    assert.ok(serverProperties.version);
    assert.strictEqual(serverProperties.capabilities.publisher_confirms, true);
    assert.strictEqual(serverProperties.capabilities['basic.nack'], true);
});

test('frameMax and channelMax from the URL', async (t) => {
    const connection = await connect(t, '?frameMax=4096&channelMax=3&heartbeat=0');
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const body = Buffer.alloc(50000, 'y');
    channel.sendToQueue(queue, body);
    const message = await channel.get(queue, { noAck: true });
    assert.strictEqual(Buffer.compare(message.content, body), 0);
    await connection.createChannel();
    await connection.createChannel();
    await assert.rejects(connection.createChannel(), /No channels left/);
});

test('a short heartbeat keeps an idle connection', async (t) => {
    const connection = await connect(t, '?heartbeat=1');
    let beats = 0;
    connection.connection.stream.on('data', () => { beats += 1; });
    const started = Date.now();
    while (beats < 4) {
        await next(connection.connection.stream, 'data');
    }
    assert.ok(Date.now() - started > 500, 'heartbeats come too fast');
    await connection.createChannel();
});

test('wrong password', async () => {
    const wrong = URL.replace('guest:guest', 'guest:wrong');
    await assert.rejects(amqp.connect(wrong), /403|ACCESS_REFUSED/);
});

test('unknown vhost', async () => {
    await assert.rejects(amqp.connect(URL.replace('%2F', 'nowhere')), /ConnectionClose/);
});

test('explicit credentials', async (t) => {
    const credentials = amqp.credentials.amqplain('guest', 'guest');
    const connection = await connect(t, '', { credentials });
    await connection.createChannel();
});

test('200 channels', async (t) => {
    const connection = await connect(t);
    const channels = await Promise.all([...Array(200)].map(() => connection.createChannel()));
    const queues = await Promise.all(
        channels.map((channel) => channel.assertQueue('', { exclusive: true })));
    assert.strictEqual(new Set(queues.map(({ queue }) => queue)).size, 200);
    await Promise.all(channels.map((channel) => channel.close()));
    await connection.createChannel();
});

test('many requests at once on one channel are answered in order', async (t) => {
    const channel = await (await connect(t)).createChannel();
    const queues = [...Array(100).keys()].map(() => name());
    const answers = await Promise.all(
        queues.map((queue) => channel.assertQueue(queue, { exclusive: true })));
    assert.deepStrictEqual(answers.map(({ queue }) => queue), queues);
});

test('a channel error leaves the connection alone', async (t) => {
    const connection = await connect(t);
    const channel = await connection.createChannel();
    const told = next(channel, 'error');
    const closed = next(channel, 'close');
    await assert.rejects(channel.checkQueue(name('absent')), (error) => {
        assert.strictEqual(error.code, 404);
        assert.strictEqual(error.classId, 50);
        assert.strictEqual(error.methodId, 10);
        return true;
    });
    assert.match((await told).message, /NOT_FOUND - no queue/);
    await closed;
    assert.throws(() => channel.sendToQueue('x', Buffer.from('x')), /Channel closed/);
    await (await connection.createChannel()).assertQueue('', { exclusive: true });
});

test('acking twice closes the channel', async (t) => {
    const channel = await (await connect(t)).createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    channel.sendToQueue(queue, Buffer.from('x'));
    const message = await channel.get(queue);
    const told = next(channel, 'error');
    channel.ack(message);
    channel.ack(message);
    assert.strictEqual((await told).code, 406);
});

test('redeclaring differently', async (t) => {
    const channel = await (await connect(t)).createChannel();
    const queue = name();
    await channel.assertQueue(queue, { exclusive: true, messageTtl: 60000 });
    const told = next(channel, 'error');
    await assert.rejects(channel.assertQueue(queue, { exclusive: true, messageTtl: 1 }), /406/);
    assert.match((await told).message, /inequivalent arg 'x-message-ttl'/);
});

test('publishing to an absent exchange', async (t) => {
    const channel = await (await connect(t)).createChannel();
    const told = next(channel, 'error');
    channel.publish(name('absent'), '', Buffer.from('x'));
    assert.strictEqual((await told).code, 404);
});

test('a connection error reaches connection and channels', async (t) => {
    const connection = await connect(t);
    const channel = await connection.createChannel();
    const told = next(connection, 'error');
    const closed = next(channel, 'close');
    await assert.rejects(channel.assertExchange(name('x'), 'circle'));
    assert.strictEqual((await told).code, 503);
    await closed;
});

test('the duplicate consumer tag', async (t) => {
    const connection = await connect(t);
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const told = next(connection, 'error');
    await channel.consume(queue, () => {}, { consumerTag: 'mine' });
    await assert.rejects(channel.consume(queue, () => {}, { consumerTag: 'mine' }));
    assert.strictEqual((await told).code, 530);
});

test('close ends everything cleanly', async () => {
    const connection = await amqp.connect(URL);
    const channel = await connection.createChannel();
    const closed = next(connection, 'close');
    const channelClosed = next(channel, 'close');
    await connection.close();
    assert.strictEqual(await closed, undefined);
    await channelClosed;
    await assert.rejects(async () => connection.createChannel(), /Connection closed/);
});

test('close is answered while publishes are still on their way', async (t) => {
    // amqplib writes its channels in turns, so connection.close overtakes what they wrote before.
    for (let round = 0; round < 10; round++) {
        const connection = await amqp.connect(URL);
        const channel = await connection.createChannel();
        const { queue } = await channel.assertQueue('', { exclusive: true });
        while (channel.sendToQueue(queue, Buffer.from('late'))) {
            // Until the buffer is full.
        }
        await connection.close();
    }
    await (await connect(t)).createChannel();
});

test('update-secret is answered', async (t) => {
    const connection = await connect(t);
    await connection.updateSecret(Buffer.from('renewed'), 'because');
    await connection.createChannel();
});

test('blocked and unblocked can be listened to', async (t) => {
    const connection = await connect(t);
    connection.on('blocked', () => assert.fail('nothing blocks here'));
    connection.on('unblocked', () => assert.fail('nothing blocks here'));
    await (await connection.createChannel()).assertQueue('', { exclusive: true });
});

test('reconnecting after losing the socket', async (t) => {
    const queue = name();
    for (let attempt = 0; attempt < 5; attempt++) {
        const connection = await amqp.connect(URL);
        connection.on('error', () => {});
        const channel = await connection.createChannel();
        channel.on('error', () => {});
        await channel.assertQueue(queue, { durable: false });
        const gone = next(connection, 'close');
        connection.connection.stream.destroy(new Error('cut'));
        await gone;
    }
    const channel = await (await connect(t)).createChannel();
    await channel.checkQueue(queue);
    await channel.deleteQueue(queue);
});
