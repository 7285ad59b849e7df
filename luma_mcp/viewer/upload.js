// The form that sends one clip: on a page of its own, whose address is the ticket, and in the gallery, which asks for one.
(() => {
  "use strict";

  const find = (id) => document.getElementById(id);
  const form = find("upload");
  const note = find("upload-note");
  const bar = find("upload-progress");
  const button = form.querySelector("button");
  const hasTicket = "ticket" in document.body.dataset;

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    find("uploaded").hidden = true;
    note.textContent = "Uploading…";
    try {
      const answer = await send(hasTicket ? location.pathname : await askForPath(), find("clip").files[0]);
      find("source").value = answer.source_video_url;
      find("uploaded").hidden = false;
      note.textContent = hasTicket
        ? "The clip has arrived. Go back to the chat and say so; the assistant knows its name."
        : "The clip has arrived. Give the assistant the line below.";
    } catch (error) {
      note.textContent = error.message;
    } finally {
      bar.hidden = true;
      button.disabled = hasTicket && !find("uploaded").hidden;
    }
  });

  find("copy-source").addEventListener("click", async () => {
    find("source").select();
    try {
      await navigator.clipboard.writeText(find("source").value);
      note.textContent = "Copied.";
    } catch {
      note.textContent = "Copy the marked line.";
    }
  });

  async function askForPath() {
    const answer = await fetch("gallery/api/uploads", { method: "POST" });
    if (answer.status === 401) throw new Error("Sign in first.");
    const told = await answer.json();
    if (!answer.ok) throw new Error(wordsOf(told));
    return told.path;
  }

  function send(path, file) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(); // fetch does not tell how much was sent
      request.open("PUT", path);
      request.responseType = "json";
      request.upload.onprogress = ({ loaded, total }) => {
        bar.hidden = false;
        bar.value = total ? loaded / total : 0;
        if (loaded === total) note.textContent = "Uploaded. RunAPI is getting it…";
      };
      request.onload = () =>
        request.status === 200 ? resolve(request.response) : reject(new Error(wordsOf(request.response)));
      request.onerror = () => reject(new Error("The connection broke. Try again: this address is good until it expires."));
      request.send(file);
    });
  }

  const wordsOf = (told) => [told?.error?.message, told?.error?.hint].filter(Boolean).join(" ") || "The clip was not taken.";
})();
