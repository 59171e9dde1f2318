// SPDX-License-Identifier: BSD-2-Clause
// One chat completion by the official SDK: node retry.js BASE_URL MAX_RETRIES [stream]
// Prints JSON: what came of it, and each attempt with its status and when it was made.
import OpenAI from 'openai';

const [baseURL, maxRetries, stream] = process.argv.slice(2);
const began = Date.now();
const attempts = [];

async function countingFetch(url, init) {
	const attempt = { at_ms: Date.now() - began };
	attempts.push(attempt);
	try {
		const response = await fetch(url, init);
		attempt.status = response.status;
		attempt.retry_after_ms = response.headers.get('retry-after-ms');
		return response;
	} catch (error) {
		attempt.error = String(error.cause ?? error);
		throw error;
	}
}

async function complete(client) {
	const request = { model: 'mock-model', messages: [{ role: 'user', content: 'hello' }] };
	if (!stream) {
		const answer = await client.chat.completions.create({ ...request, max_tokens: 8 });
		return answer.choices[0].message.content;
	}
	let text = '';
	const chunks = await client.chat.completions.create({ ...request, max_tokens: 8, stream: true });
	for await (const chunk of chunks)
		text += chunk.choices[0]?.delta?.content ?? '';
	return text;
}

const client = new OpenAI({
	baseURL,
	apiKey: 'none',
	maxRetries: Number(maxRetries),
	timeout: 20000,
	fetch: countingFetch,
});
const report = { ok: false, attempts };
try {
	report.content = await complete(client);
	report.ok = true;
} catch (error) {
	report.status = error.status ?? null;
	report.type = error.type ?? null;
	report.error = error.message;
}
report.ms = Date.now() - began;
console.log(JSON.stringify(report));
