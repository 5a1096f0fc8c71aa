// Validates an AsyncAPI document and every schema that it refers to, by the official parser. Warnings count as errors.
import { readFile } from "node:fs/promises";
import { fromFile, Parser } from "@asyncapi/parser";

const path = process.argv[2];
const { document, diagnostics } = await fromFile(new Parser(), path).parse();
// Advice on naming is no matter of validity; being told of a newer AsyncAPI is none either.
const ignored = new Set(["asyncapi-latest-version", "asyncapi-info-contact", "asyncapi-info-contact-properties", "asyncapi-tags"]);
const told = diagnostics.filter(({ code, severity }) => severity <= 1 && !ignored.has(code));
for (const { code, message, path: at } of told) console.error(`${at.join(".")}: ${message} (${code})`);
if (!document || told.length > 0) process.exit(1);
console.log(`${path}: AsyncAPI ${document.version()}, ${document.channels().all().length} channels, ${document.allMessages().all().length} messages`);
