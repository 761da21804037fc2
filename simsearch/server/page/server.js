// Ask the server; where it wants a token, ask for one and try again.
import { say } from "./words.js";

const KEY = "token";
let asking = null;

async function send(path, body) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const how = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  try {
    return await fetch(path, how);
  } catch {
    throw new Error(say("failed"));
  }
}

export async function ask(path, body) {
  let answer = await send(path, body);
  if (answer.status === 401) {
    await (asking ??= tokenFromUser().finally(() => { asking = null; }));
    answer = await send(path, body);
  }
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error.message);
  return content;
}

function tokenFromUser() {
  const dialog = document.getElementById("token-dialog");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, document.getElementById("token").value);
      resolve();
    }, { once: true });
  });
}
