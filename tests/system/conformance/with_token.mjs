// Gives every request of the conformance suite, which knows no headers of its own, the token in the variable TOKEN.
//
// Usage: node --import ./with_token.mjs SUITE ...
import http from "node:http";
import { createRequire } from "node:module";

const { getGlobalDispatcher, setGlobalDispatcher } = createRequire(process.argv[1])("undici");
const shown = ["authorization", `Bearer ${process.env.TOKEN}`];

const withToken = (headers) => {
  if (Array.isArray(headers)) return [...headers, ...shown];
  return { ...(headers ?? {}), [shown[0]]: shown[1] };
};

setGlobalDispatcher(
  getGlobalDispatcher().compose((dispatch) => (request, handler) =>
    dispatch({ ...request, headers: withToken(request.headers) }, handler),
  ),
);

const { request } = http;
http.request = (...asked) => request(...asked).setHeader(...shown);
