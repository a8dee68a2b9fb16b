// The way in: sends the token, and says in words why it was not taken.

import { request, ApiError } from "./api.js";

const form = document.getElementById("login");
const field = document.getElementById("token");
const answer = document.getElementById("login-answer");

/** A form that was sent without this script is led back here with why. */
const WHY = {
  unauthorized: "That is not the token of this device.",
  too_many_tries: "Too many wrong tokens came from here: wait a minute.",
};
answer.textContent = WHY[new URLSearchParams(location.search).get("failed")] ?? "";

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.textContent = "";
  try {
    await request("/login", { method: "POST", body: new URLSearchParams({ token: field.value }) });
    location.replace(`/${location.hash}`);
  } catch (error) {
    answer.textContent = error instanceof ApiError ? error.message : "The device does not answer.";
    field.select();
    field.focus();
  }
});
